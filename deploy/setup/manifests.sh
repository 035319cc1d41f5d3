#!/bin/sh
# Build helm and kustomize, with which manifests are rendered and checked, into the folder named. Run from the project's root.
# Needs Go, its module proxy and two minutes once. Without Go: say so; the tests that need them are then skipped.
set -eu

target=${1:-.cache/manifest-tools}
if ! command -v go >/dev/null; then
    echo "setup: no Go here, so helm and kustomize are not built; the tests that need them are skipped and say so"
    exit 0
fi
folder=$(cd "$(dirname "$0")/manifests" && pwd)
echo "setup: building helm and kustomize; this takes some minutes the first time"
mkdir -p "$target.part"
# moved only when whole: an interrupted build must not look like a finished one
nice -n 10 go build -C "$folder" -mod=readonly -trimpath -ldflags "-s -w" -o "$PWD/$target.part/" \
    helm.sh/helm/v3/cmd/helm sigs.k8s.io/kustomize/kustomize/v5
rm -rf "$target"
mv "$target.part" "$target"
