#!/usr/bin/env bash
# Render the chart as plain manifests: render.sh HELM.
set -euo pipefail
cd "$(dirname "$0")/../.."
echo "# Written by \`make manifests\` from deploy/helm/sfumato and deploy/kustomize/values.yaml."
"$1" template sfumato deploy/helm/sfumato --namespace sfumato -f deploy/kustomize/values.yaml |
    sed -e '/^# Source:/d' -e '/helm\.sh\/chart/d' -e '/managed-by: Helm/d' -e 's/[ ]*$//' -e '/^$/d'
