// What a call from JavaScript costs over the same call made in Rust, in the same process and against the same platform.
//
//     npm run build && npm run bench
//
// Prints nanoseconds or microseconds per call, and as its last lines `ratio <name> <value>` and `added <name> <value>`.

import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const { tool } = require('../index.cjs')
const { Platform, BENCH } = require('../lib/platform.cjs')
const { native: callerOf } = require('../lib/context.cjs')
const { ScriptedModel } = require('../testing.cjs')

const ROUNDS = 5
const RUNS = 200
const TIMES = { can: 200_000, get: 4_000, run: RUNS }
/** Microseconds the project aims to add at most. */
const AIMS = { can: 3, get: 50, run: undefined }

const script = (name, called) =>
  new ScriptedModel(name, Array.from({ length: (ROUNDS + 1) * RUNS }, () => [{ tools: [[called, { text: 'x' }]] }, 'done']).flat())
const echo = tool({ name: 'bench_js', effect: 'pure', parameters: { type: 'object' } }, (args) => args)
const platform = await Platform.open({
  tools: [echo], models: [script('js', 'bench_js'), script('rust', 'bench_native')], [BENCH]: true,
})
const operator = platform.operator('bench', 'bench')
const tenant = await platform.tenants.create(operator, { name: 'bench' })
const root = await platform.tenants.bootstrapAdmin(operator, tenant, { email: 'root@bench.example' })
const ctx = await platform.context(tenant, root)
const agent = async (name, called) => {
  const made = await platform.agents.create(ctx, { name, model: name, tools: [called] })
  return platform.agents.deploy(ctx, made)
}
const ours = await agent('js', 'bench_js')
const theirs = await agent('rust', 'bench_native')

/** Microseconds per call from JavaScript. */
const javascript = {
  async can(times) {
    for (let turn = 0; turn < times; turn += 1) ctx.can('agents:run')
  },
  async get(times) {
    for (let turn = 0; turn < times; turn += 1) await platform.agents.get(ctx, ours.id)
  },
  async run(times) {
    for (let turn = 0; turn < times; turn += 1) await (await platform.runs.start(ctx, ours.id, 'go')).wait()
  },
}
async function timed(what, times) {
  const start = process.hrtime.bigint()
  await javascript[what](times)
  return Number(process.hrtime.bigint() - start) / 1e3 / times
}

/** Microseconds per call from Rust. */
async function reference(what, times) {
  const { link } = platform.runs
  const caller = callerOf(ctx, 'bench')
  const text = await link.call((id) => link.native.bench(id, caller, what, what === 'run' ? theirs.id : ours.id, times))
  return Number(text) / 1e3
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]
const lines = []
for (const [what, times] of Object.entries(TIMES)) {
  await timed(what, times)
  await reference(what, times)
  const measured = { javascript: [], rust: [] }
  // Turn by turn, so that what else the machine does falls on both.
  for (let round = 1; round < ROUNDS; round += 1) {
    measured.javascript.push(await timed(what, times))
    measured.rust.push(await reference(what, times))
  }
  const [here, there] = [median(measured.javascript), median(measured.rust)]
  console.log(`${what.padEnd(4)} ${here.toFixed(3).padStart(10)} µs from JavaScript ${there.toFixed(3).padStart(10)} µs from Rust`)
  const aim = AIMS[what] === undefined ? '' : ` (aim ${AIMS[what]})`
  lines.push(`added node_${what} ${(here - there).toFixed(3)} µs${aim}`, `ratio node_${what} ${(here / there).toFixed(2)}`)
}
await platform.close()
for (const line of lines.sort()) console.log(line)
