"use strict";
// Calls of the interop service with @grpc/grpc-js, and what their caller sees of them.

const path = require("node:path");
const zlib = require("node:zlib");

// grpc-js does not show whether a response message was compressed. It unpacks exactly those whose prefix says
// so, each with a decompressor of its own that it ends once, so counting the ends tells how many there were.
let unpacked = 0;
const end = zlib.Gunzip.prototype.end;
zlib.Gunzip.prototype.end = function countedEnd(...args) {
  unpacked += 1;
  return end.apply(this, args);
};

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const { testing } = grpc.loadPackageDefinition(
  protoLoader.loadSync(path.join(__dirname, "..", "testing.proto")),
).grpc;

const TIMEOUT_MS = 30_000;
const OPTIONS = { "grpc.enable_http_proxy": 0, "grpc.use_local_subchannel_pool": 1 };

/** Clients of the server at `address`. `compressing()` makes a new one, whose first call sends gzip. */
function connect(address) {
  const credentials = grpc.credentials.createInsecure();
  const gzip = { ...OPTIONS, "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip };
  return {
    plain: new testing.TestService(address, credentials, OPTIONS),
    unimplemented: new testing.UnimplementedService(address, credentials, OPTIONS),
    // New for each call: after one answer with "grpc-accept-encoding: identity, deflate, gzip" grpc-js, which
    // expects no blanks there, takes the server for one that does not know gzip.
    compressing: () => new testing.TestService(address, credentials, gzip),
  };
}

/**
 * Starts a call of `client[name]`. Give `request` when one request is due; otherwise write to `.stream` and end
 * it. `.record` is a promise of what the caller saw; `.responses` has the messages received so far, and `.next()`
 * waits for one.
 */
function start(client, name, { request, metadata, timeoutMs = TIMEOUT_MS } = {}) {
  const definition = client[name];
  const options = { deadline: Date.now() + timeoutMs };
  const args = [metadata ?? new grpc.Metadata(), options];
  const unpackedBefore = unpacked;
  const responses = [];
  let waiting = [];
  const received = (message) => {
    responses.push(message);
    waiting.forEach((resolve) => resolve(message));
    waiting = [];
  };
  if (!definition.requestStream) args.unshift(request);
  if (!definition.responseStream) args.push((error, response) => error ?? received(response));
  const stream = definition.call(client, ...args);

  let initial = {};
  stream.on("metadata", (sent) => (initial = sent.toJSON()));
  stream.on("error", () => {}); // the status says it
  stream.on("data", received);
  const drained = definition.responseStream
    ? new Promise((resolve) => stream.on("end", resolve).on("error", resolve))
    : Promise.resolve();
  const record = new Promise((resolve) => stream.on("status", resolve)).then(async (status) => {
    await drained;
    return {
      method: definition.path,
      status: status.code,
      details: status.details,
      response_sizes: responses.map((response) => response.payload?.body.length ?? 0),
      responses_compressed: unpacked - unpackedBefore,
      initial_metadata: initial,
      trailing_metadata: status.metadata.toJSON(),
    };
  });
  return { stream, responses, record, next: () => new Promise((resolve) => waiting.push(resolve)) };
}

module.exports = { connect, start, Metadata: grpc.Metadata, status: grpc.status };
