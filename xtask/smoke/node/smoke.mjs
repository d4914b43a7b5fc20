// What a user does first with the installed package: a run with a tool, on a database file in the working directory.

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { NotFoundError, Platform, tool } from 'agentprovision'
import { ScriptedModel } from 'agentprovision/testing'

const secrets = { SMOKE_PEPPER: '0123456789abcdef' }
const answer = 'Order 1234 left on Monday.'
const findOrder = tool(
  {
    name: 'find_order',
    description: 'Finds an order',
    effect: 'pure',
    schema: { type: 'object', properties: { id: { type: 'integer' } }, required: ['id'] },
  },
  async ({ id }) => ({ id, left: 'Monday' }),
)
const scripted = new ScriptedModel('scripted', [{ tools: [['find_order', { id: 1234 }]] }, answer])

const store = { store: 'sqlite://smoke.db', pepperEnv: 'SMOKE_PEPPER', secrets }
const platform = await Platform.open({ ...store, tools: [findOrder], models: [scripted] })
const operator = platform.operator('ops@host.example', 'smoke test')
const acme = await platform.tenants.create(operator, { name: 'acme', domain: 'acme.example' })
const root = await platform.tenants.bootstrapAdmin(operator, acme, { email: 'root@acme.example' })
const ctx = await platform.context(acme, root)
const key = await platform.keys.create(ctx, { name: 'smoke' })
const agent = await platform.agents.create(ctx, { name: 'desk', model: scripted, tools: [findOrder] })
await platform.agents.deploy(ctx, agent)
const run = await platform.runs.start(ctx, agent, 'Where is order 1234?')
let events = 0
for await (const _ of run.events()) events += 1
const outcome = await run.wait()
assert.ok(events > 0)
assert.equal(outcome.text, answer)
assert.deepEqual(outcome.chain.steps.map((step) => step.name), ['scripted', 'find_order', 'scripted'])
await assert.rejects(platform.runs.get(ctx, run.id.slice(0, -12) + '0'.repeat(12)), NotFoundError)
await platform.close()
assert.ok(existsSync('smoke.db'))

const again = await Platform.open(store)
const known = await again.authenticate(key.secret)
assert.equal((await again.runs.record(known, run.id)).status, 'completed')
assert.ok((await again.audit.verify(known)).size > 0)
await again.close()
console.log(`${run.id} from ${import.meta.resolve('agentprovision')}`)
