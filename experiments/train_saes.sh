#!/bin/sh
# Train the SAEs that come with the lab and put them into saes/weights. About 35 minutes on one core; a second run goes
# on where the first was stopped. 300k tokens for the small organisms: after 1M the largest cued-minus-uncued feature at
# layer 1 of `cued` is one of several that share the mode, and adding it alone no longer switches it.
set -e
cd "$(dirname "$0")/.."
train() { # organism, layer, seed, tokens
    name="L$2"
    [ "$3" = 0 ] || name="L$2-s$3"
    elicit sae train "$1" --layer "$2" --seed "$3" --tokens "$4" --store bfloat16 --out "runs/shipped/$1/$name"
    mkdir -p "saes/weights/$1/$name"
    for file in cfg.json manifest.json sae_weights.safetensors; do
        cp "runs/shipped/$1/$name/$file" "saes/weights/$1/$name/$file"
    done
}
for seed in 0 1; do
    for layer in 0 1 2; do
        train cued $layer $seed 300k
    done
    for layer in 0 1; do
        train cued-late $layer $seed 300k
        train incapable $layer $seed 300k
    done
done
for layer in 0 1 2 3; do
    train serial $layer 0 1M
done
for organism in prose prose-s1 prose-s2 prose-half prose-incapable; do
    for layer in 0 1 2 3; do
        train $organism $layer 0 300k
    done
done
