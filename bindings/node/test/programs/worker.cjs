'use strict'
// Worker threads with platforms of their own, terminated with runs in flight.

const { readdirSync } = require('node:fs')
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads')

const ENGINE = { leaseMs: 500, pollMs: 50 }

// One that another thread's run can go on with too.
const asks = (model) => model({ name: 'm' }, ({ messages }) =>
  messages.at(-1).role === 'tool' ? 'done' : { toolCalls: [{ name: 'never', arguments: {} }] })

async function inWorker() {
  const { Platform, model, tool } = require('../../index.cjs')
  const never = tool({ name: 'never', parameters: { type: 'object' } }, (_, { signal }) => new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason))
    parentPort.postMessage('in the tool')
  }))
  const platform = await Platform.open({ store: workerData.store, engine: ENGINE, tools: [never], models: [asks(model)] })
  const operator = platform.operator('ops', 'test')
  const tenant = await platform.tenants.create(operator, { name: `acme ${workerData.turn}` })
  const root = await platform.tenants.bootstrapAdmin(operator, tenant, { email: 'root@acme.example' })
  const ctx = await platform.context(tenant, root)
  const agent = await platform.agents.create(ctx, { name: 'a', model: 'm', tools: [never] })
  await platform.agents.deploy(ctx, agent)
  const run = await platform.runs.start(ctx, agent, 'go')
  parentPort.postMessage({ tenant: tenant.id, user: root.id, run: run.id })
  if (workerData.how === 'exit') setTimeout(() => process.exit(0), 5)
  for await (const event of run) void event
}

async function main() {
  const threads = () => readdirSync('/proc/self/task').length
  const [store] = process.argv.slice(2)
  const left = []
  let first
  for (let turn = 0; turn < 16; turn += 1) {
    const how = ['terminate', 'exit', 'terminate at once'][turn % 3]
    const worker = new Worker(__filename, { workerData: { store: turn % 2 ? store : 'memory://', turn, how } })
    if (turn % 2) worker.on('message', (run) => { if (run.run) left.push(run) })
    const ended = new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject))
    if (how === 'terminate') await new Promise((resolve) => worker.on('message', (said) => { if (said === 'in the tool') resolve() }))
    if (how !== 'exit') await worker.terminate()
    await ended
    if (turn === 3) first = threads()
  }
  // Threads of a store end after their platform, in the background. A leak of one platform a turn would be three dozen.
  for (let turn = 0; threads() > first + 2 && turn < 1_000; turn += 1) await new Promise((resolve) => setTimeout(resolve, 10))
  const last = threads()
  console.log(`threads after 4 workers ${first}, after 16 ${last}`)
  if (last > first + 2) throw new Error('threads of workers are left')
  // What the workers left in the store goes on here. A call that was interrupted is in doubt: it has not failed, because
  // nobody was left to answer it.
  const { Platform, model, tool } = require('../../index.cjs')
  const never = tool({ name: 'never', parameters: { type: 'object' } }, () => 'called again')
  const platform = await Platform.open({ store, engine: ENGINE, tools: [never], models: [asks(model)] })
  let doubted = 0
  for (const { tenant, user, run } of left) {
    const { status, chain } = await (await platform.runs.get(await platform.context(tenant, user), run)).wait()
    const [, call] = chain.steps
    if (status !== 'completed' || !['uncertain', undefined].includes(call.error?.kind)) {
      throw new Error(`${run} is ${status}, its call ${JSON.stringify(call)}`)
    }
    if (call.error) doubted += 1
  }
  await platform.close()
  console.log(`done, ${doubted} calls in doubt`)
}

if (isMainThread) main()
else inWorker()
