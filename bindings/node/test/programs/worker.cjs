'use strict'
// Worker threads with platforms of their own, terminated with runs in flight.

const { readdirSync } = require('node:fs')
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads')

async function inWorker() {
  const { Platform, tool } = require('../../index.cjs')
  const { ScriptedModel } = require('../../testing.cjs')
  const never = tool({ name: 'never', parameters: { type: 'object' } }, (_, { signal }) => new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason))
    parentPort.postMessage('in the tool')
  }))
  const platform = await Platform.open({ store: workerData.store, tools: [never], models: [new ScriptedModel('m', [{ tools: [['never', {}]] }])] })
  const operator = platform.operator('ops', 'test')
  const tenant = await platform.tenants.create(operator, { name: `acme ${workerData.turn}` })
  const root = await platform.tenants.bootstrapAdmin(operator, tenant, { email: 'root@acme.example' })
  const ctx = await platform.context(tenant, root)
  const agent = await platform.agents.create(ctx, { name: 'a', model: 'm', tools: [never] })
  await platform.agents.deploy(ctx, agent)
  const run = await platform.runs.start(ctx, agent, 'go')
  if (workerData.how === 'exit') setTimeout(() => process.exit(0), 5)
  for await (const event of run) void event
}

async function main() {
  const threads = () => readdirSync('/proc/self/task').length
  const [store] = process.argv.slice(2)
  let first
  for (let turn = 0; turn < 16; turn += 1) {
    const how = ['terminate', 'exit', 'terminate at once'][turn % 3]
    const worker = new Worker(__filename, { workerData: { store: turn % 2 ? store : 'memory://', turn, how } })
    const ended = new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject))
    if (how === 'terminate') await new Promise((resolve) => worker.once('message', resolve))
    if (how !== 'exit') await worker.terminate()
    await ended
    if (turn === 3) first = threads()
  }
  // Node's own helpers come and go; a leak of one platform a turn would be a dozen threads and more.
  const last = threads()
  console.log(`threads after 4 workers ${first}, after 16 ${last}`)
  if (last > first + 2) throw new Error('threads of workers are left')
  // The main thread can use it still.
  const { Platform } = require('../../index.cjs')
  const platform = await Platform.open({})
  await platform.close()
  console.log('done')
}

if (isMainThread) main()
else inWorker()
