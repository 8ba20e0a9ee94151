@echo off
rem Double-click: finds Python, starts Fooocus Lite, keeps the window open when something went wrong.
setlocal
cd /d "%~dp0"
set "check=import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))"
for %%P in ("py -3.13" "py -3.12" "py -3.11" "py -3.10" "py -3" "python3" "python") do (
    %%~P -c "%check%" >nul 2>nul
    if not errorlevel 1 (
        set "python=%%~P"
        goto found
    )
)
echo Python 3.10 to 3.13 was not found: install Python 3.12 (https://www.python.org/downloads) and start again.
pause
exit /b 2
:found
%python% launch.py %*
set "code=%errorlevel%"
if not "%code%"=="0" pause
exit /b %code%
