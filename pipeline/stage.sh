#!/bin/sh
# Starts one stage: `sh pipeline/stage.sh train solar`. dvc.yaml's commands come here, so that `dvc repro` needs no
# activated environment: the flow's own Python, else the project's, else the active one.
# One thread a stage: two stages run side by side, sums round the same on every machine, and train sets its own.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
for python in "$DANLU_PYTHON" .venv/bin/python "$VIRTUAL_ENV/bin/python" "$(dirname "$(command -v danlu || echo /)")/python"; do
    if [ -x "$python" ]; then
        stage=$1
        shift
        exec "$python" -m "pipeline.$stage" "$@"
    fi
done
echo "$1: found no environment; expected .venv or an activated one; make it with \`make setup\`" >&2
exit 2
