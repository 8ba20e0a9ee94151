"""The part of the queue file that keeps the line: one row per batch, so that a list costs the same at any length.

Triggers keep it true, whoever changes a task; nothing else writes these numbers. See `fooocus_lite.database`.
"""

LINE_SCHEMA = """
ALTER TABLE tasks ADD COLUMN place INTEGER NOT NULL DEFAULT 1; -- which picture of its batch it is
ALTER TABLE tasks ADD COLUMN revision INTEGER NOT NULL DEFAULT 0; -- how often it was edited while it waited
UPDATE tasks SET place = places.place FROM (
    SELECT id, row_number() OVER (PARTITION BY batch_id ORDER BY id) AS place FROM tasks
) AS places WHERE places.id = tasks.id;

CREATE TABLE batches (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, size INTEGER NOT NULL DEFAULT 0,
    -- Of what of it waits; `held` of them wait for files, and `is_held` says that all do.
    waiting INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0, is_held INTEGER NOT NULL DEFAULT 0,
    work INTEGER NOT NULL DEFAULT 0, position REAL
) WITHOUT ROWID;
INSERT INTO batches (id, owner, size, waiting, held, is_held, work, position)
    SELECT batch_id, min(owner), count(*), sum(state = 'waiting'), sum(state = 'waiting' AND waits_for IS NOT NULL),
    sum(state = 'waiting' AND waits_for IS NULL) = 0, sum(iif(state = 'waiting', work, 0)),
    coalesce(min(iif(state = 'waiting' AND waits_for IS NULL, position, NULL)),
             min(iif(state = 'waiting', position, NULL)))
    FROM tasks GROUP BY batch_id;
INSERT INTO totals SELECT 'batches', owner, count(*), 0 FROM batches WHERE waiting > 0 GROUP BY owner;
CREATE TRIGGER count_batches AFTER UPDATE OF waiting ON batches WHEN (OLD.waiting > 0) <> (NEW.waiting > 0) BEGIN
    INSERT INTO totals VALUES ('batches', NEW.owner, 0, 0) ON CONFLICT DO NOTHING;
    UPDATE totals SET tasks = tasks + iif(NEW.waiting > 0, 1, -1) WHERE state = 'batches' AND owner = NEW.owner;
END;
CREATE INDEX batches_in_line ON batches (is_held, position, id) WHERE waiting > 0;
CREATE INDEX batches_of_owner ON batches (owner, is_held, position, id) WHERE owner <> '' AND waiting > 0;
CREATE INDEX tasks_of_batch_in_line ON tasks (batch_id, waits_for, position) WHERE state = 'waiting';
CREATE INDEX tasks_by_position ON tasks (position, id) WHERE state = 'waiting';
CREATE INDEX tasks_ended ON tasks (finished_at, id) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_ended_of_owner ON tasks (owner, finished_at, id) WHERE owner <> '' AND finished_at IS NOT NULL;

CREATE TRIGGER batch_grows AFTER INSERT ON tasks BEGIN
    INSERT INTO batches (id, owner, size) VALUES (NEW.batch_id, NEW.owner, 1)
        ON CONFLICT (id) DO UPDATE SET size = size + 1;
    UPDATE tasks SET place = (SELECT size FROM batches WHERE id = NEW.batch_id) WHERE id = NEW.id;
    UPDATE batches SET
        waiting = waiting + 1, held = held + (NEW.waits_for IS NOT NULL), work = work + NEW.work,
        is_held = held + (NEW.waits_for IS NOT NULL) = waiting + 1,
        position = (SELECT position FROM tasks WHERE batch_id = NEW.batch_id AND state = 'waiting'
            ORDER BY waits_for, position LIMIT 1) -- NULL sorts before every name
    WHERE id = NEW.batch_id AND NEW.state = 'waiting';
END;
CREATE TRIGGER batch_moves AFTER UPDATE OF state, position, waits_for, work ON tasks
WHEN OLD.state = 'waiting' OR NEW.state = 'waiting' BEGIN
    UPDATE batches SET
        waiting = waiting - (OLD.state = 'waiting') + (NEW.state = 'waiting'),
        held = held - (OLD.state = 'waiting' AND OLD.waits_for IS NOT NULL)
                    + (NEW.state = 'waiting' AND NEW.waits_for IS NOT NULL),
        is_held = held - (OLD.state = 'waiting' AND OLD.waits_for IS NOT NULL)
                       + (NEW.state = 'waiting' AND NEW.waits_for IS NOT NULL)
                = waiting - (OLD.state = 'waiting') + (NEW.state = 'waiting'),
        work = work - iif(OLD.state = 'waiting', OLD.work, 0) + iif(NEW.state = 'waiting', NEW.work, 0),
        position = (SELECT position FROM tasks WHERE batch_id = NEW.batch_id AND state = 'waiting'
            ORDER BY waits_for, position LIMIT 1)
    WHERE id = NEW.batch_id;
END;

-- An edit may change the work of a task that waits.
CREATE TRIGGER count_work AFTER UPDATE OF work ON tasks WHEN OLD.work <> NEW.work AND OLD.state = NEW.state BEGIN
    UPDATE totals SET work = work - OLD.work + NEW.work WHERE state = OLD.state AND owner = OLD.owner;
END;
DROP TRIGGER count_held;
DROP TRIGGER count_released;
CREATE TRIGGER count_held AFTER UPDATE OF waits_for, work ON tasks
WHEN OLD.waits_for IS NOT NULL OR NEW.waits_for IS NOT NULL BEGIN
    INSERT INTO totals VALUES ('held', NEW.owner, 0, 0) ON CONFLICT DO NOTHING;
    UPDATE totals SET
        tasks = tasks - (OLD.waits_for IS NOT NULL) + (NEW.waits_for IS NOT NULL),
        work = work - iif(OLD.waits_for IS NULL, 0, OLD.work) + iif(NEW.waits_for IS NULL, 0, NEW.work)
    WHERE state = 'held' AND owner = NEW.owner;
END;

CREATE TABLE switches (name TEXT PRIMARY KEY, is_on INTEGER NOT NULL);
INSERT INTO switches VALUES ('paused', 0); -- whether the whole queue is
CREATE TABLE repeats (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, recipe TEXT NOT NULL,
    times INTEGER, -- how many rounds were asked for; NULL = until somebody ends it
    rounds INTEGER NOT NULL DEFAULT 0, -- how many of them have been put in line
    batch_id TEXT, -- of the newest round
    state TEXT NOT NULL DEFAULT 'on', -- 'stopped' = by an error that a person has not answered; 'ended'
    error TEXT, created_at REAL NOT NULL
);
CREATE INDEX repeats_by_state ON repeats (state, id);
CREATE TABLE rounds (batch_id TEXT PRIMARY KEY, repeat_id TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX rounds_of_repeat ON rounds (repeat_id, batch_id);
"""
