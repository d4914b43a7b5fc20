'use strict'
// What the package is: errors, exports, types, platform packages; and the same run gives the same bytes.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { execFileSync } = require('node:child_process')
const { readFileSync, readdirSync } = require('node:fs')
const { join } = require('node:path')
const native = require('../native.cjs')
const agentprovision = require('../index.cjs')
const testing = require('../testing.cjs')
const { camel, snake } = require('../lib/json.cjs')
const { STATUS } = require('../lib/errors.cjs')
const { LIMIT, ID, open, deployed } = require('./support.cjs')

const { Platform, tool } = agentprovision
const repository = join(__dirname, '..', '..', '..')

test('every error says its kind, and nothing more than it knows', LIMIT, () => {
  for (const kind of JSON.parse(native.errorKinds())) {
    const Class = Object.values(agentprovision).find((value) => value.code === kind)
    const error = new Class('x')
    assert.ok(error instanceof agentprovision.AgentProvisionError && error instanceof Error)
    assert.deepEqual([error.code, error.name, error.retryable, error.retryAfter], [kind, Class.name, false, null])
    assert.match(String(error), new RegExp(`^${Class.name}: x$`))
  }
})

test('every kind has the status the facade gives it', LIMIT, async (t) => {
  const golden = readFileSync(join(repository, 'tests', 'golden', 'error_kinds.txt'), 'utf8')
  assert.deepEqual(Object.keys(STATUS).sort(), JSON.parse(native.errorKinds()).sort())
  for (const [code, status] of Object.entries(STATUS)) {
    assert.match(golden, new RegExp(`\\b${code}\\b.*\\b${status}\\b|\\b${status}\\b.*\\b${code}\\b`), code)
  }
})

test('both module systems give the same things, and the types name them', LIMIT, async () => {
  const esm = await import('agentprovision')
  const esmTesting = await import('agentprovision/testing')
  assert.deepEqual(Object.keys(esm).sort(), Object.keys(agentprovision).sort())
  assert.deepEqual(Object.keys(esmTesting).sort(), Object.keys(testing).sort())
  for (const name of Object.keys(agentprovision)) assert.equal(esm[name], agentprovision[name], name)
  assert.equal(require('agentprovision'), agentprovision)
  const types = ['index.d.ts', 'errors.d.ts'].map((file) => readFileSync(join(__dirname, '..', file), 'utf8')).join('')
  const typed = [...types.matchAll(/^export (?:class|function) (\w+)/gm)].map(([, name]) => name)
  assert.deepEqual([...new Set(typed)].sort(), Object.keys(agentprovision).sort())
})

test('every method of a service is typed', LIMIT, async (t) => {
  const platform = await open(t, {})
  const types = readFileSync(join(__dirname, '..', 'index.d.ts'), 'utf8')
  for (const service of Object.values(platform)) {
    const name = service.constructor.name
    const body = new RegExp(`export (?:interface|class) ${name} \\{([^]*?)\\n\\}`).exec(types)[1]
    const typed = [...body.matchAll(/^ {2}(?!private)(\w+)(?:<[^>]*>)?\(/gm)].map(([, method]) => method)
    const inner = ['constructor', 'begin', 'open', 'text']
    const there = Object.getOwnPropertyNames(service.constructor.prototype)
      .filter((method) => typed.includes(method) || !inner.includes(method))
    assert.deepEqual(typed.sort(), there.sort(), name)
  }
})

test('every method is typed with the answer of its operation', LIMIT, () => {
  const types = readFileSync(join(__dirname, '..', 'index.d.ts'), 'utf8')
  const name = ({ $ref: reference }) => `t.${reference.slice(reference.lastIndexOf('/') + 1)}`.replace(/^t\.(\w+)Page$/, 't.Page<t.$1>')
  const typeOf = (schema) => (schema.type === 'null' ? 'null' : schema.type === 'array' ? `${name(schema.items)}[]` : name(schema))
  // These answer with something that does more than hold a record.
  const handles = {
    'runs.start': 'Promise<Run>', 'runs.get': 'Promise<Run>', 'sessions.send': 'Promise<Run>',
    'sessions.open': 'Promise<Session>', 'sessions.get': 'Promise<Session>',
    // Whatever the operation of the connector answers.
    'integrations.invoke': 'Promise<T>',
    'runs.events': 'Stream<t.RunEvent>', 'models.stream': 'Stream<t.ModelEvent>', 'events.subscribe': 'Stream<t.NumberedEvent>',
  }
  for (const [operation, { answer }] of Object.entries(JSON.parse(native.schema()).operations)) {
    const [service, method] = operation.split('.').map(camel)
    if (service === 'platform') continue
    const Service = service[0].toUpperCase() + service.slice(1)
    const [, body] = new RegExp(`export interface ${Service} \\{([^]*?)\n\\}`).exec(types)
    const [, typed] = new RegExp(`^ {2}${method}(?:<[^>]*>)?\\([^]*?\\): (\\w+<.*>)$`, 'm').exec(body)
    assert.equal(typed, handles[operation] ?? `Promise<${typeOf(answer)}>`, operation)
  }
})

test('the types of the native half are those of the module', LIMIT, () => {
  const text = readFileSync(join(__dirname, '..', 'native.d.ts'), 'utf8')
  const classes = [...text.matchAll(/^export class (\w+) \{([^]*?)\n\}/gm)]
  const functions = [...text.matchAll(/^export function (\w+)/gm)].map(([, name]) => name)
  assert.deepEqual([...classes.map(([, name]) => name), ...functions].sort(), Object.keys(native).sort())
  for (const [, name, body] of classes) {
    const typed = [...body.matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)].map(([, member]) => member)
    assert.deepEqual(typed.sort(), Object.getOwnPropertyNames(native[name].prototype).sort(), name)
  }
})

test('the generated types are those of the platform', LIMIT, () => {
  execFileSync(process.execPath, [join(__dirname, '..', 'scripts', 'types.mjs'), '--check'], { stdio: 'pipe' })
})

test('each platform package fits the package', LIMIT, () => {
  const own = require('../package.json')
  const folder = join(__dirname, '..', 'npm')
  const found = readdirSync(folder).map((name) => require(join(folder, name, 'package.json')))
  assert.deepEqual(Object.fromEntries(found.map(({ name, version }) => [name, version])), own.optionalDependencies)
  for (const { version, os, cpu, main } of found) {
    assert.deepEqual([version, os.length, cpu.length, main], [own.version, 1, 1, 'native.node'])
  }
})

// The scenario of tests/scenario.md, whose results every language shares.
test('the same clock, seed and inputs give the same chain, journal and audit root', LIMIT, async (t) => {
  const golden = JSON.parse(readFileSync(join(repository, 'tests', 'golden', 'scenario.json'), 'utf8'))
  const findOrder = tool({ name: 'find_order', description: 'Finds an order', effect: 'pure', parameters: ID },
    ({ id }) => ({ id, state: 'late' }))
  const cancelOrder = tool({ name: 'cancel_order', description: 'Cancels an order', effect: 'idempotent', parameters: ID },
    async ({ id }) => ({ cancelled: id }))
  const script = new testing.ScriptedModel('m', [
    { tools: [['find_order', { id: '1234' }]] }, { tools: [['cancel_order', { id: '1234' }]] },
    'Order 1234 was late and is cancelled.',
  ])
  const platform = await Platform.open({
    store: 'memory://', clock: new testing.ManualClock({ start: '2026-01-01T00:00:00Z', seed: 7 }), pepperEnv: 'PEPPER',
    secrets: { PEPPER: '0123456789abcdef' }, models: [script], tools: [findOrder, cancelOrder],
  })
  t.after(() => platform.close())
  const operator = platform.operator('ops@host.example', 'scenario')
  const acme = await platform.tenants.create(operator, { name: 'acme', domain: 'acme.example' })
  const root = await platform.tenants.bootstrapAdmin(operator, acme, { email: 'root@acme.example' })
  const admin = await platform.context(acme, root)
  const ada = await platform.users.create(admin, { email: 'ada@acme.example', roles: ['agent_manager'] })
  const ctx = await platform.context(acme, ada)
  const agent = await deployed(platform, ctx, {
    name: 'desk', instructions: 'Help.', model: 'm', tools: ['find_order', 'cancel_order'],
    budget: { perRun: { costUsd: '0.05' } },
  })
  const run = await platform.runs.start(ctx, agent, 'Order 1234 never arrived', { idempotencyKey: 'ticket-77' })
  const outcome = await run.wait()
  const { record } = outcome
  const usage = await platform.usage.summary(admin, { from: '1970-01-01T00:00:00Z', to: '9999-01-01T00:00:00Z' })
  const audit = await platform.audit.verify(admin)
  const ours = {
    run: record.id, version: record.version, status: outcome.status, answer: outcome.text, head: record.head,
    chain: outcome.chain, usage, audit,
  }
  assert.deepEqual(underscored(JSON.parse(JSON.stringify(ours))), golden)
})

function underscored(value) {
  if (Array.isArray(value)) return value.map(underscored)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [snake(key), underscored(inner)]))
}
