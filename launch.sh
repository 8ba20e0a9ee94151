#!/bin/sh
# Double-click or run: finds Python, starts Fooocus Lite, keeps the window open when something went wrong.
cd "$(dirname "$0")" || exit 1
for python in python3.13 python3.12 python3.11 python3.10 python3 python; do
    if command -v "$python" >/dev/null 2>&1 && "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        "$python" launch.py "$@"
        code=$?
        break
    fi
done
if [ -z "$code" ]; then
    echo "Python 3.10 to 3.13 was not found: install Python 3.12 (https://www.python.org/downloads) and start again."
    code=2
fi
if [ "$code" -ne 0 ] && [ "$code" -ne 130 ] && [ -t 0 ]; then
    printf 'Press Enter to close this window. '
    read -r _
fi
exit "$code"
