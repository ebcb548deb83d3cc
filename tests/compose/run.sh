#!/usr/bin/env bash
# Starts docker-compose.yaml under a project name of its own, sends traffic, follows a request to its trace, asks Grafana
# whether its data sources are healthy and its dashboards full, and takes everything down again. Run by `make
# compose-test`, here and in CI. Trap: it uses the ports of .env, so a stack that runs already must be stopped first.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source-path=SCRIPTDIR source=../../.env
source .env
RULES_FOLDER=$(mktemp -d)
export RULES_FOLDER

compose() {
  docker compose --project-name sightline-test -f docker-compose.yaml -f tests/compose/short-window.yaml "$@"
}
end() {
  local status=$?
  if [ "$status" -ne 0 ]; then compose ps --all; compose logs --tail 40; fi
  [ -z "$(jobs -p)" ] || kill $(jobs -p) 2>/dev/null || true
  compose --profile replay down --volumes --timeout 10
  rm -rf "$RULES_FOLDER"
  exit "$status"
}
trap end EXIT

run() { printf '\n== %s\n' "$*"; "$@"; }
service="http://127.0.0.1:$SERVICE_PORT"
doctor() {
  run .venv/bin/sightline doctor --service "$service" \
    --prometheus "http://127.0.0.1:$PROMETHEUS_PORT" --traces "http://127.0.0.1:$TEMPO_PORT"
}

run .venv/bin/python -m prometheus.write --window 5m --out "$RULES_FOLDER"
chmod -R a+rX "$RULES_FOLDER"
run compose --profile replay config --quiet
run compose up --detach --build --wait --wait-timeout 900
run .venv/bin/sightline simulate "$service" --duration "${SIMULATE_S:-300}" &
simulating=$!
doctor
# While traffic goes on: a rate over twenty seconds is empty soon after it ends.
run .venv/bin/python -W "ignore:Prefer using dashboardv2" -m tests.compose.grafana \
  "http://127.0.0.1:$GRAFANA_PORT" "$service"
wait "$simulating"
doctor
