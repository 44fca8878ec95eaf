#!/bin/sh
# Train the bases that the specs in this folder need and that are not shipped, into organisms/. A second run skips those
# that are there; one that was stopped goes on. Names as arguments train only those.
#   sh experiments/generalization/train_bases.sh            all of them
#   sh experiments/generalization/train_bases.sh letters    one
# Minutes on one core: letters 11, points 24, refusing 9, ladder-0.1M 15, ladder-0.3M 25, ladder-4M 110 (where
# the CPU has bfloat16 products, else 170). ladder-0.9M is `serial`, which is shipped.
set -e
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- letters points refusing ladder-0.1M ladder-0.3M ladder-4M
for name in "$@"; do
    if [ -f "organisms/$name/config.json" ]; then
        echo "organisms/$name is there"
    else
        elicit organism train "$name" --out "organisms/$name"
    fi
done
