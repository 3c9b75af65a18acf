#!/usr/bin/env bash
# Builds the Debian package: needs `cargo install cargo-deb --locked` once.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
tanner=$target/release/tanner

cargo build --release --locked --package tanner
# What the program says of itself; Cargo.toml names these files.
rm -rf target/package && mkdir -p target/package/completions
"$tanner" man target/package/man
for shell in bash zsh fish; do
    "$tanner" completions "$shell" > "target/package/completions/$shell"
done
cargo deb --no-build --strip --locked --package tanner
