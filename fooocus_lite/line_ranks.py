"""The part of the queue file that knows how many stand before a task, without counting them one by one.

Positions are numbers, so each stretch of 2^9, 2^18 and 2^27 of them keeps how many tasks stand in it (a radix tree of
counts); a place is the sum of the whole stretches before a task, the largest first, and the few beside it in its own.
Triggers keep it true, whoever changes a task. See `fooocus_lite.database`.
"""

from __future__ import annotations

_SHIFTS = "(SELECT 9 AS shift UNION ALL SELECT 18 UNION ALL SELECT 27)"
_IN_LINE = "{0}.state = 'waiting' AND {0}.waits_for IS NULL"
_ADD = f"""
    INSERT INTO ranks SELECT NEW.owner, shift, CAST(NEW.position AS INTEGER) >> shift, 1 FROM {_SHIFTS} WHERE true
        ON CONFLICT (owner, shift, stretch) DO UPDATE SET tasks = tasks + 1;
"""
_OF_OLD = """owner = OLD.owner AND (
        (shift = 9 AND stretch = CAST(OLD.position AS INTEGER) >> 9)
        OR (shift = 18 AND stretch = CAST(OLD.position AS INTEGER) >> 18)
        OR (shift = 27 AND stretch = CAST(OLD.position AS INTEGER) >> 27))"""

RANK_SCHEMA = f"""
CREATE TABLE ranks (
    owner TEXT NOT NULL, shift INTEGER NOT NULL, stretch INTEGER NOT NULL, tasks INTEGER NOT NULL,
    PRIMARY KEY (owner, shift, stretch)
) WITHOUT ROWID;
INSERT INTO ranks SELECT owner, shift, CAST(position AS INTEGER) >> shift AS stretch, count(*) FROM tasks, {_SHIFTS}
    WHERE {_IN_LINE.format("tasks")} GROUP BY owner, shift, stretch;
CREATE TRIGGER rank_new AFTER INSERT ON tasks WHEN {_IN_LINE.format("NEW")} BEGIN {_ADD} END;
CREATE TRIGGER rank_gone AFTER UPDATE OF state, waits_for, position ON tasks WHEN {_IN_LINE.format("OLD")} BEGIN
    UPDATE ranks SET tasks = tasks - 1 WHERE {_OF_OLD};
    DELETE FROM ranks WHERE tasks = 0 AND {_OF_OLD};
END;
CREATE TRIGGER rank_set AFTER UPDATE OF state, waits_for, position ON tasks WHEN {_IN_LINE.format("NEW")} BEGIN
    {_ADD}
END;
"""
_RANK = """
SELECT task.owner,
    (SELECT coalesce(sum(tasks), 0) FROM ranks WHERE owner = task.owner AND shift = 27 AND stretch < task.at >> 27)
    + (SELECT coalesce(sum(tasks), 0) FROM ranks WHERE owner = task.owner AND shift = 18
        AND stretch >= (task.at >> 27) << 9 AND stretch < task.at >> 18)
    + (SELECT coalesce(sum(tasks), 0) FROM ranks WHERE owner = task.owner AND shift = 9
        AND stretch >= (task.at >> 18) << 9 AND stretch < task.at >> 9)
    + (SELECT count(*) FROM tasks AS other WHERE other.state = 'waiting' AND other.waits_for IS NULL
        AND other.owner = task.owner AND other.position >= (task.at >> 9) << 9 AND other.position <= task.position)
    AS rank
FROM """
#: Of the task whose id is given and who stands in line: its owner, and how many of the owner's stand there up to it.
RANK_OF = f"""{_RANK} (SELECT owner, position, CAST(position AS INTEGER) AS at FROM tasks
    WHERE id = ? AND state = 'waiting' AND waits_for IS NULL) AS task
"""
#: Of everybody of whom something waits: the owner, and how many of theirs stand in line up to a position, given twice.
RANKS_UNTIL = f"""{_RANK} (SELECT owner, ? AS position, CAST(? AS INTEGER) AS at FROM totals
    WHERE state = 'waiting' AND tasks > 0) AS task
"""
