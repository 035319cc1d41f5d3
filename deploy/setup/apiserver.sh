#!/bin/sh
# Build the API server that the tests of the cluster's watcher run against, into the file named. Run from the project's root.
# Needs Go and its module proxy, 4 GB of memory and some minutes once. Without Go: say so; those tests are then skipped.
set -eu

target=${1:-.cache/kube-apiserver}
if ! command -v go >/dev/null; then
    echo "setup: no Go here, so no API server is built; the tests that need it are skipped and say so"
    exit 0
fi
folder=$(cd "$(dirname "$0")/apiserver" && pwd)
version=$(cd "$folder" && go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
minor=$(echo "$version" | cut -d. -f2)
echo "setup: building kube-apiserver $version; this takes some minutes the first time"
mkdir -p "$(dirname "$target")"
base=k8s.io/component-base/version
# renamed only when whole: an interrupted build must not look like a finished one
nice -n 10 go build -C "$folder" -mod=readonly -trimpath -o "$PWD/$target.part" \
    -ldflags "-s -w -X $base.gitVersion=$version -X $base.gitMajor=1 -X $base.gitMinor=$minor" \
    k8s.io/kubernetes/cmd/kube-apiserver
mv "$target.part" "$target"
