// One tool of each effect class, and one that a person must agree to.
//
//     node examples/node/custom_tool.mjs

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

// In a program of your own: from 'agentprovision' and 'agentprovision/testing'.
import { Platform, tool } from '../../bindings/node/index.mjs'
import { ScriptedModel } from '../../bindings/node/testing.mjs'

const order = {
  type: 'object',
  properties: { id: { type: 'integer', description: "The order's number." } },
  required: ['id'],
}

// Pure: reads and computes. After a crash it is simply called again.
const price = tool({ name: 'price', description: 'The price of an order', effect: 'pure', parameters: order }, ({ id }) => id * 10)

// Idempotent: the key is the same for every attempt, so the other side can tell a repetition.
const reserve = tool(
  { name: 'reserve', description: "Reserves an order's goods", effect: 'idempotent', parameters: order },
  async ({ id }, call) => `reserved ${id} under ${call.idempotencyKey.slice(0, 8)}`,
)

// Transactional: what is written through `tx` commits together with the step's result, or not at all.
const book = tool(
  { name: 'book', description: 'Books an order', effect: 'transactional', parameters: order },
  async ({ id }, { tx }) => {
    await tx.execute('CREATE TABLE IF NOT EXISTS bookings (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (tenant_id, id))')
    await tx.execute('INSERT INTO bookings (tenant_id, id) VALUES ($1, $2)', [id])
    const [[count]] = await tx.query('SELECT count(*) FROM bookings WHERE tenant_id = $1')
    return { bookings: count }
  },
)

// Unsafe, and approved by a person first: it is called at most once, with exactly the arguments that were approved.
const refund = tool(
  { name: 'refund', description: 'Pays a deposit back', approval: 'always', parameters: order },
  async ({ id }) => `refunded order ${id}`,
)

const model = new ScriptedModel('scripted', [
  { tools: [['price', { id: 7 }]] },
  { tools: [['reserve', { id: 7 }]] },
  { tools: [['book', { id: 7 }]] },
  { tools: [['refund', { id: 7 }]] },
  'Order 7 is booked, and its deposit is paid back.',
])

const folder = await mkdtemp(join(tmpdir(), 'agentprovision-'))
const tools = [price, reserve, book, refund]
const platform = await Platform.open({ store: `sqlite://${join(folder, 'tools.db')}`, models: [model], tools })
try {
  const operator = platform.operator('ops@host.example', 'example')
  const acme = await platform.tenants.create(operator, { name: 'acme', domain: 'acme.example' })
  const root = await platform.tenants.bootstrapAdmin(operator, acme, { email: 'root@acme.example' })
  const ctx = await platform.context(acme, root)

  const agent = await platform.agents.create(ctx, { name: 'booking', model, tools })
  await platform.agents.deploy(ctx, agent)
  const run = await platform.runs.start(ctx, agent, 'Book order 7 and pay its deposit back.')
  for await (const event of run) {
    process.stdout.write(String(event))
    if (event.event === 'approval_requested') {
      await run.approve({ approval: event.approval, argsHash: event.argsHash, answer: 'approve' })
    }
  }
  console.log(`\n${(await run.wait()).chain}`)
} finally {
  await platform.close()
  await rm(folder, { recursive: true, force: true })
}
