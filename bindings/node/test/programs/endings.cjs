'use strict'
// A process that ends with work in flight, in the way it is told.

const { Platform, tool } = require('../../index.cjs')
const { ScriptedModel } = require('../../testing.cjs')

const [how] = process.argv.slice(2)
const parameters = { type: 'object' }

const tools = [
  tool({ name: 'never', parameters }, () => {
    console.log('in the tool')
    return new Promise(() => {})
  }),
  tool({ name: 'watched', parameters }, (_, { signal }) => new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason))
    console.log('in the tool')
  })),
  tool({ name: 'exit', parameters }, () => {
    console.log('in the tool')
    process.exit(3)
  }),
  tool({ name: 'soon', parameters }, () => 'done'),
]

async function main() {
  const script = (name) => new ScriptedModel(name, [{ tools: [[name, {}]] }, { stall: 'thinking' }])
  const models = tools.map(({ name }) => script(name))
  models.push(new ScriptedModel('quick', ['an answer']), new ScriptedModel('stall', [{ stall: 'thinking' }]))
  const platform = await Platform.open({ tools, models })
  const operator = platform.operator('ops', 'test')
  const tenant = await platform.tenants.create(operator, { name: 'acme' })
  const root = await platform.tenants.bootstrapAdmin(operator, tenant, { email: 'root@acme.example' })
  const ctx = await platform.context(tenant, root)
  const start = async (model, options) => {
    const names = tools.filter(({ name }) => name === model)
    const agent = await platform.agents.create(ctx, { name: model, model, tools: names })
    await platform.agents.deploy(ctx, agent)
    return platform.runs.start(ctx, agent, 'go', options)
  }
  const inTool = async (name) => {
    const run = await start(name)
    const waiting = run.wait()
    waiting.catch(() => {})
    for await (const event of run) if (event.event === 'step_started' && event.kind === 'tool') break
    return run
  }
  switch (how) {
    case 'nothing waits':
      await start('never')
      await start('stall', { signal: new AbortController().signal })
      platform.events.subscribe(ctx)
      return
    case 'a wait':
      console.log((await (await start('quick')).wait()).text)
      return
    case 'exit':
      for (const name of ['never', 'watched', 'never', 'stall']) start(name).catch(() => {})
      await inTool('soon')
      process.exit(3)
      break
    case 'exit in a tool':
      await (await start('exit')).wait()
      break
    case 'exit while opening':
      Platform.open({}).then(() => {})
      process.exit(3)
      break
    case 'an exception':
      start('stall').then((run) => run.wait()).catch(() => {})
      start('never').catch(() => {})
      setImmediate(() => { throw new Error('it is over') })
      break
    case 'a signal': {
      const run = await start('stall')
      process.kill(process.pid, 'SIGTERM')
      await run.wait()
      break
    }
    case 'closed in the middle': {
      const run = await inTool('watched')
      const waiting = run.wait().then(() => 'ended', (error) => error.code)
      await platform.close()
      console.log(`waiting ${await waiting}`)
      break
    }
    default:
      throw new Error(`unknown ending ${how}`)
  }
}
main()
