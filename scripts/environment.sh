# Sourced by the two commands: makes .venv beside the code and installs what FILE asks for, once.
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
        [ -x .venv/bin/python ] || "$python" -m venv .venv
        .venv/bin/pip install --quiet --disable-pip-version-check -r "$1"
        .venv/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
        echo "$wanted" > ".venv/installed-$1"
    fi
    export PATH="$PWD/.venv/bin:$PATH"
}
