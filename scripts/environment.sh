# Sourced by quickstart.sh and test.sh: makes .venv and installs the requirements in FILE, once.
#   install requirements.txt
install() {
    local python="${PYTHON:-python3}" wanted
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "Python 3.11 or newer is needed, and $python is $("$python" --version 2>&1); set PYTHON=/path/to/python3.11." >&2
        exit 1
    fi
    wanted="$("$python" --version) $(cat requirements*.txt pyproject.toml | cksum)"
    if [ "$(cat ".venv/installed-$1" 2>/dev/null)" != "$wanted" ]; then
        echo "installing $1 into .venv"
        # An environment that is incomplete, or of another Python, is made anew.
        if ! [ -x .venv/bin/pip ] || [ "$(.venv/bin/python --version)" != "$("$python" --version)" ]; then
            "$python" -m venv --clear .venv
        fi
        .venv/bin/pip install --quiet --disable-pip-version-check -r "$1"
        .venv/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
        echo "$wanted" > ".venv/installed-$1"
    fi
    export PATH="$PWD/.venv/bin:$PATH"
}

# Chromium and its driver, for the tests of the report's page; without them these tests are skipped.
install_browser() {
    if command -v chromium > /dev/null && command -v chromedriver > /dev/null; then
        return
    fi
    if command -v apt-get > /dev/null && [ "$(id -u)" = 0 ]; then
        echo "installing chromium"
        { apt-get update && apt-get install --yes --no-install-recommends chromium chromium-driver; } > /dev/null 2>&1 ||
            echo "chromium could not be installed: the tests of the report's page are skipped" >&2
    else
        echo "no chromium and chromedriver here: the tests of the report's page are skipped" >&2
    fi
}
