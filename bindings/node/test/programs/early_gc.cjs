'use strict'
// Functions and handles that nobody holds are collected early: what waits for them fails, and nothing hangs or crashes.

const { Platform, tool } = require('../../index.cjs')
const { ScriptedModel } = require('../../testing.cjs')

const collect = async () => {
  for (let turn = 0; turn < 5; turn += 1) {
    global.gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

async function open(name, run) {
  const made = tool({ name, parameters: { type: 'object' } }, run)
  const platform = await Platform.open({ tools: [made], models: [new ScriptedModel('m', [{ tools: [[name, {}]] }, 'done'])] })
  const operator = platform.operator('ops', 'test')
  const tenant = await platform.tenants.create(operator, { name: 'acme' })
  const root = await platform.tenants.bootstrapAdmin(operator, tenant, { email: 'root@acme.example' })
  const ctx = await platform.context(tenant, root)
  const agent = await platform.agents.create(ctx, { name: 'a', model: 'm', tools: [name] })
  await platform.agents.deploy(ctx, agent)
  return { platform, run: await platform.runs.start(ctx, agent, 'go') }
}

async function main() {
  // The tool itself is held by the platform only.
  const held = await open('held', () => 'done')
  await collect()
  console.log((await held.run.wait()).text)

  // A promise that nobody can settle any more is collected, and so is the call that waits for it.
  const lost = await open('lost', () => new Promise(() => {}))
  // One whose signal was asked for is watched, and not held by what watches it.
  let told = false
  const watched = await open('watched', (_, { signal }) => {
    signal.addEventListener('abort', () => { told = true })
    return new Promise(() => {})
  })
  const waiting = [lost.run.wait(), watched.run.wait()]
  const timer = setInterval(() => global.gc(), 10)
  for (const { chain } of await Promise.all(waiting)) console.log(JSON.stringify(chain.steps[1].error))
  clearInterval(timer)
  await collect()
  console.log(told)

  // A handle and a stream that are dropped stop nothing.
  let { run, platform } = await open('later', () => new Promise((resolve) => setTimeout(resolve, 100, 'x')))
  let stream = run.events()
  await stream.next()
  const { id } = run
  run = stream = undefined
  await collect()
  console.log(id.slice(0, 4))

  // A platform nobody holds goes on until its process ends.
  platform = undefined
  await collect()
  await new Promise((resolve) => setTimeout(resolve, 150))
  console.log('alive')
  await held.platform.close()
  await lost.platform.close()
  await watched.platform.close()
}
main()
