#!/bin/sh
# Generates the *_pb.ts beside each .proto of the etcd wire API. Needs protoc (Debian: protobuf-compiler).
set -eu
cd "$(dirname "$0")/.."
dir=src/datastore/etcd/proto
PATH="$PWD/node_modules/.bin:$PATH" protoc -I "$dir" \
  --es_out="$dir" --es_opt=target=ts,erasable_syntax=true,import_extension=ts \
  "$dir"/kv.proto "$dir"/rpc.proto
