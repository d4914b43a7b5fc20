'use strict'
// Tenants as files: exported, verified, restored, and backed up.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { Platform } = require('../index.cjs')
const { ScriptedModel } = require('../testing.cjs')
const { LIMIT, folder, ON_SERVER, storeIn, open, home, deployed, eventually } = require('./support.cjs')

const code = (wanted) => (error) => error.code === wanted

test('a tenant is exported, deleted and restored', LIMIT, async (t) => {
  const path = folder(t)
  const file = join(path, 'acme.archive')
  const platform = await open(t, { store: storeIn(path), models: [new ScriptedModel('m', ['done', 'again'])] })
  const acme = await home(platform)
  const other = await home(platform, 'globex')
  const ctx = await acme.user('ada', 'agent_manager')
  const agent = await deployed(platform, ctx, {})
  const run = await platform.runs.start(ctx, agent, 'go')
  assert.equal((await run.wait()).text, 'done')
  const { operator, tenant } = acme
  const summary = await platform.archives.export(operator, tenant, file)
  assert.deepEqual([summary.header.tenant, summary.header.store], [tenant.id, ON_SERVER ? 'postgres' : 'sqlite'])
  assert.equal(summary.rows, summary.tables.reduce((sum, { rows }) => sum + rows, 0))
  assert.equal(summary.bytes, statSync(file).size)
  assert.deepEqual(await platform.archives.verify(operator, file), summary)
  await assert.rejects(platform.archives.export(operator, tenant, file), code('already_exists'))
  await assert.rejects(platform.archives.restore(operator, file), code('conflict'))
  const gone = await platform.tenants.delete(operator, tenant, { archive: join(path, 'last.archive') })
  assert.equal(gone.state, 'deleted')
  await assert.rejects(platform.archives.export(operator, tenant, join(path, 'late')), code('not_found'))
  const back = await platform.archives.restore(operator, file)
  assert.deepEqual([back.tenant.id, back.tenant.state, back.archive], [tenant.id, 'suspended', summary])
  const fresh = await platform.archives.restore(operator, file, { into: 'new' })
  assert.notEqual(fresh.tenant.id, tenant.id)
  await platform.tenants.resume(operator, tenant)
  const again = await platform.context(tenant, ctx.user)
  assert.equal((await platform.runs.record(again, run.id)).status, 'completed')
  assert.equal((await (await platform.runs.start(again, agent.id, 'more')).wait()).text, 'again')
  const told = (await platform.audit.platformEntries(operator)).map(({ record }) => record?.action)
  for (const action of ['archives.export', 'archives.restore']) {
    assert.equal(told.filter((one) => one === action).length, 2, action)
  }
  await platform.audit.verifyPlatform(operator)
  assert.deepEqual(await platform.tenants.get(operator, other.tenant), other.tenant)
  const broken = readFileSync(file)
  broken[broken.length >> 1] ^= 1
  writeFileSync(file, broken)
  await assert.rejects(platform.archives.verify(operator, file), code('corrupt'))
  await assert.rejects(platform.archives.verify(operator, join(path, 'none')), code('not_found'))
})

test('a tenant is backed up', LIMIT, async (t) => {
  const path = folder(t)
  const backups = { folder: join(path, 'backups'), keep: 2 }
  const platform = await open(t, { store: storeIn(path), backups })
  const { operator, tenant } = await home(platform)
  await assert.rejects(platform.backups.run(operator, tenant), code('unavailable'))
  const { items: [failed] } = await platform.backups.list(operator, tenant)
  assert.deepEqual([failed.state, failed.error, failed.digest], ['failed', 'unavailable', null])
  mkdirSync(backups.folder)
  let made
  for (const number of [2, 3, 4]) {
    made = await platform.backups.run(operator, tenant)
    assert.deepEqual([made.state, made.number, made.slot, made.error], ['completed', number, null, null])
  }
  assert.deepEqual(await platform.backups.get(operator, tenant, made), made)
  const kept = []
  for await (const backup of platform.backups.iterate(operator, tenant, { limit: 1 })) kept.push(backup)
  assert.deepEqual(kept.map(({ number }) => number), [3, 4])
  assert.deepEqual(readdirSync(backups.folder).sort(), kept.map(({ name }) => name).sort())
  const summary = await platform.archives.verify(operator, join(backups.folder, made.name))
  assert.deepEqual([summary.digest, summary.rows, summary.bytes], [made.digest, made.rows, made.bytes])
  const restored = await platform.archives.restore(operator, join(backups.folder, made.name), { into: 'new' })
  assert.deepEqual((await platform.backups.list(operator, restored.tenant)).items, [])
  await assert.rejects(platform.backups.get(operator, restored.tenant, made.id), code('not_found'))
  await assert.rejects(platform.backups.list(operator, tenant, { limit: 0 }), code('invalid_input'))
})

test('backups are made on a schedule', LIMIT, async (t) => {
  const path = folder(t)
  const plain = await Platform.open({ store: storeIn(path) })
  const { operator: nobody, tenant } = await home(plain)
  await assert.rejects(plain.backups.run(nobody, tenant), code('unsupported'))
  await plain.close()
  const backups = { folder: path, everyS: 86_400, keep: 3, patienceS: 60 }
  const platform = await open(t, { store: storeIn(path), backups })
  const operator = platform.operator('ops@host.example', 'a look')
  const last = async () => (await platform.backups.list(operator, tenant)).items.at(-1)
  await eventually('a backup is made', async () => (await last())?.state === 'completed')
  assert.ok((await last()).slot <= (await last()).startedAt)
  for (const bad of [{ folder: '' }, { folder: 'f', keep: 0 }, { folder: 'f', everyS: 0 }, { folder: 'f', each: 1 }]) {
    await assert.rejects(Platform.open({ backups: bad }), code('invalid_input'))
  }
})

test('a store in memory has neither', LIMIT, async (t) => {
  const path = folder(t)
  const platform = await open(t, { backups: { folder: path } })
  const { operator, tenant } = await home(platform)
  await assert.rejects(platform.archives.export(operator, tenant, join(path, 'none')), code('unsupported'))
  await assert.rejects(platform.backups.run(operator, tenant), code('unsupported'))
  assert.deepEqual(readdirSync(path), [])
})
