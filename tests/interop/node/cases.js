"use strict";
// The interop cases that need no credentials, as @grpc/grpc-js makes them. Each takes the clients of one server,
// asserts what the public interop test descriptions demand, and returns the record of each call it made.

const assert = require("node:assert/strict");
const { start, Metadata, status } = require("./calls");

const LARGE_REQUEST_BYTES = 271828;
const LARGE_RESPONSE_BYTES = 314159;
const EXCHANGES = [[31415, 27182], [9, 8], [2653, 1828], [58979, 45904]]; // bytes of [response, request]
const NO_COMPRESSION = 2; // grpc-js's flag for one written message

const payload = (bytes) => ({ body: Buffer.alloc(bytes) });
const largeRequest = (fields) => ({
  responseSize: LARGE_RESPONSE_BYTES,
  payload: payload(LARGE_REQUEST_BYTES),
  ...fields,
});
const exchange = ([responseBytes, requestBytes]) => ({
  responseParameters: [{ size: responseBytes }],
  payload: payload(requestBytes),
});

async function large(client, fields) {
  const record = await start(client, "UnaryCall", { request: largeRequest(fields) }).record;
  assert.equal(record.status, status.OK, record.details);
  assert.deepEqual(record.response_sizes, [LARGE_RESPONSE_BYTES]);
  return record;
}

async function unimplemented(client) {
  const record = await start(client, "UnimplementedCall", { request: {} }).record;
  assert.equal(record.status, status.UNIMPLEMENTED);
  return [record];
}

const cases = {
  async empty_unary({ plain }) {
    const call = start(plain, "EmptyCall", { request: {} });
    const record = await call.record;
    assert.deepEqual(call.responses, [{}]);
    return [record];
  },

  async large_unary({ plain }) {
    return [await large(plain)];
  },

  async client_compressed_unary({ plain, compressing }) {
    const request = largeRequest({ expectCompressed: { value: true } });
    const probe = await start(plain, "UnaryCall", { request }).record;
    assert.equal(probe.status, status.INVALID_ARGUMENT);
    const gzip = compressing();
    const compressed = await large(gzip, { expectCompressed: { value: true } });
    gzip.close();
    return [probe, compressed, await large(plain, { expectCompressed: { value: false } })];
  },

  async server_compressed_unary({ plain }) {
    const compressed = await large(plain, { responseCompressed: { value: true } });
    assert.equal(compressed.responses_compressed, 1);
    const uncompressed = await large(plain, { responseCompressed: { value: false } });
    assert.equal(uncompressed.responses_compressed, 0);
    return [compressed, uncompressed];
  },

  async client_streaming({ plain }) {
    const call = start(plain, "StreamingInputCall");
    for (const [, bytes] of EXCHANGES) call.stream.write({ payload: payload(bytes) });
    call.stream.end();
    const record = await call.record;
    assert.deepEqual(call.responses, [{ aggregatedPayloadSize: 74922 }]);
    return [record];
  },

  async client_compressed_streaming({ plain, compressing }) {
    const first = { payload: payload(27182), expectCompressed: { value: true } };
    const second = { payload: payload(45904), expectCompressed: { value: false } };
    const probe = start(plain, "StreamingInputCall");
    probe.stream.end(first);
    const probeRecord = await probe.record;
    assert.equal(probeRecord.status, status.INVALID_ARGUMENT);
    const gzip = compressing();
    const call = start(gzip, "StreamingInputCall");
    call.stream.write(first);
    call.stream.write(second, NO_COMPRESSION);
    call.stream.end();
    const record = await call.record;
    gzip.close();
    assert.deepEqual(call.responses, [{ aggregatedPayloadSize: 73086 }]);
    return [probeRecord, record];
  },

  async server_streaming({ plain }) {
    const sizes = [31415, 9, 2653, 58979];
    const request = { responseParameters: sizes.map((size) => ({ size })) };
    const record = await start(plain, "StreamingOutputCall", { request }).record;
    assert.deepEqual([record.status, record.response_sizes], [status.OK, sizes]);
    return [record];
  },

  async server_compressed_streaming({ plain }) {
    const responseParameters = [
      { size: 31415, compressed: { value: true } },
      { size: 92653, compressed: { value: false } },
    ];
    const record = await start(plain, "StreamingOutputCall", { request: { responseParameters } }).record;
    assert.deepEqual([record.status, record.response_sizes], [status.OK, [31415, 92653]]);
    assert.equal(record.responses_compressed, 1);
    return [record];
  },

  async ping_pong({ plain }) {
    const call = start(plain, "FullDuplexCall");
    for (const sizes of EXCHANGES) {
      const response = call.next();
      call.stream.write(exchange(sizes));
      assert.equal((await response).payload.body.length, sizes[0]);
    }
    call.stream.end();
    const record = await call.record;
    assert.deepEqual([record.status, record.response_sizes.length], [status.OK, EXCHANGES.length]);
    return [record];
  },

  async empty_stream({ plain }) {
    const call = start(plain, "FullDuplexCall");
    call.stream.end();
    const record = await call.record;
    assert.deepEqual([record.status, record.response_sizes], [status.OK, []]);
    return [record];
  },

  async custom_metadata({ plain }) {
    const metadata = new Metadata();
    metadata.set("x-grpc-test-echo-initial", "test_initial_metadata_value");
    metadata.set("x-grpc-test-echo-trailing-bin", Buffer.from("ababab", "hex"));
    const unary = start(plain, "UnaryCall", { request: largeRequest(), metadata });
    const duplex = start(plain, "FullDuplexCall", { metadata });
    duplex.stream.end(exchange([LARGE_RESPONSE_BYTES, LARGE_REQUEST_BYTES]));
    const records = [await unary.record, await duplex.record];
    for (const record of records) {
      assert.deepEqual([record.status, record.response_sizes], [status.OK, [LARGE_RESPONSE_BYTES]]);
      const initial = record.initial_metadata["x-grpc-test-echo-initial"];
      assert.deepEqual(initial, ["test_initial_metadata_value"]);
      const [trailing] = record.trailing_metadata["x-grpc-test-echo-trailing-bin"];
      assert.equal(trailing.toString("hex"), "ababab");
    }
    return records;
  },

  async status_code_and_message({ plain }) {
    const request = { responseStatus: { code: status.UNKNOWN, message: "test status message" } };
    const unary = start(plain, "UnaryCall", { request });
    const duplex = start(plain, "FullDuplexCall");
    duplex.stream.end(request);
    const records = [await unary.record, await duplex.record];
    for (const record of records) {
      assert.deepEqual([record.status, record.details], [status.UNKNOWN, "test status message"]);
    }
    return records;
  },

  async special_status_message({ plain }) {
    const message = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \u{1f608}\t\n";
    const request = { responseStatus: { code: status.UNKNOWN, message } };
    const record = await start(plain, "UnaryCall", { request }).record;
    assert.deepEqual([record.status, record.details], [status.UNKNOWN, message]);
    return [record];
  },

  unimplemented_method: ({ plain }) => unimplemented(plain),

  unimplemented_service: (clients) => unimplemented(clients.unimplemented),

  async cancel_after_begin({ plain }) {
    const call = start(plain, "StreamingInputCall");
    call.stream.cancel();
    const record = await call.record;
    assert.equal(record.status, status.CANCELLED);
    return [record];
  },

  async cancel_after_first_response({ plain }) {
    const call = start(plain, "FullDuplexCall");
    const response = call.next();
    call.stream.write(exchange(EXCHANGES[0]));
    await response;
    call.stream.cancel();
    const record = await call.record;
    assert.deepEqual([record.status, record.response_sizes], [status.CANCELLED, [EXCHANGES[0][0]]]);
    return [record];
  },

  async timeout_on_sleeping_server({ plain }) {
    const call = start(plain, "FullDuplexCall", { timeoutMs: 1 });
    call.stream.write({ responseParameters: [{ size: 1, intervalUs: 2_000_000 }], payload: payload(27182) });
    const record = await call.record;
    assert.equal(record.status, status.DEADLINE_EXCEEDED);
    // Client, proxy and server all keep the deadline; whoever is first words the status.
    delete record.details;
    delete record.trailing_metadata["x-mesh-error"];
    return [record];
  },
};

module.exports = { cases };
