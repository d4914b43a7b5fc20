'use strict'
// The process that is crashed: it starts its run, or finds it, and ends at its fault point.

const { appendFileSync } = require('node:fs')
const { Platform, tool, model } = require('../../index.cjs')

const { store, effects, tenant, user, agent, fault } = JSON.parse(process.env.SCENARIO)

/** Does something that cannot be taken back. */
function act(what, key, attempt) {
  if (fault === `before ${what}`) process.abort()
  appendFileSync(effects, `${what} ${key}\n`)
  if (fault === `after ${what}`) process.abort()
  return attempt
}

const parameters = { type: 'object' }
const effectsOf = { look: 'pure', put: 'idempotent', book: 'transactional', mail: 'unsafe' }
const tools = Object.entries(effectsOf).map(([name, effect]) => tool({ name, effect, parameters }, async (_, call) => {
  if (effect === 'transactional') {
    if (store.startsWith('sqlite:')) await call.tx.execute('CREATE TABLE IF NOT EXISTS bookings (tenant_id BLOB, key TEXT)')
    await call.tx.execute('INSERT INTO bookings (tenant_id, key) VALUES ($1, $2)', [call.idempotencyKey])
  }
  act(name, call.idempotencyKey)
  return { done: name }
}))
const bookings = tool({ name: 'bookings', effect: 'transactional', parameters }, async (_, { tx }) => {
  return (await tx.query('SELECT key FROM bookings WHERE tenant_id = $1')).length
})
const names = [...Object.keys(effectsOf), 'bookings']
const asks = model({ name: 'm', price: { input: '1', output: '1' } }, ({ messages }) => {
  const results = messages.filter(({ role }) => role === 'tool')
  act('model', results.length)
  return results.length < names.length ? { toolCalls: [{ name: names[results.length] }] } : `bookings ${results.at(-1).content}`
})

async function main() {
  const platform = await Platform.open({ store, tools: [...tools, bookings], models: [asks], engine: { leaseMs: 2_000, pollMs: 50 } })
  const ctx = await platform.context(tenant, user)
  if (!agent) {
    const made = await platform.agents.create(ctx, { name: 'a', model: asks, tools: [...tools, bookings] })
    await platform.agents.deploy(ctx, made)
    console.log(JSON.stringify({ agent: made.id }))
    return platform.close()
  }
  const run = await platform.runs.start(ctx, agent, 'go', { idempotencyKey: 'once' })
  const { status, text, chain } = await run.wait()
  await platform.audit.verify(ctx)
  console.log(JSON.stringify({ run: run.id, status, text, steps: chain.steps.map(({ name, error }) => [name, error?.kind ?? 'ok']) }))
  return platform.close()
}
main()
