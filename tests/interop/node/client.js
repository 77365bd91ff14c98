"use strict";
// node client.js ADDRESS: makes every interop case against the server at ADDRESS and prints one JSON object: for
// each case {"records": [...]}, or {"error": "..."} when it did not do what the test descriptions demand.

const { cases } = require("./cases");
const { connect } = require("./calls");

const CASE_TIMEOUT_MS = 60_000;

async function run(makeCase, clients) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end within ${CASE_TIMEOUT_MS} ms`)), CASE_TIMEOUT_MS);
  });
  try {
    return { records: await Promise.race([makeCase(clients), late]) };
  } catch (error) {
    return { error: String(error.stack ?? error) };
  } finally {
    clearTimeout(timer);
  }
}

async function main(address) {
  const clients = connect(address);
  const results = {};
  for (const [name, makeCase] of Object.entries(cases)) results[name] = await run(makeCase, clients);
  clients.plain.close();
  clients.unimplemented.close();
  // Ended by hand: grpc-js keeps the timer of a cancelled call's deadline, and that would keep the process.
  process.stdout.write(JSON.stringify(results), () => process.exit(0));
}

main(process.argv[2]);
