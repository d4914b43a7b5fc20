'use strict'
// Crashes: a process that drives a run ends in the middle of it, and another one goes on from the file.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { existsSync, readFileSync } = require('node:fs')
const { join } = require('node:path')
const { Platform } = require('../index.cjs')
const { LIMIT, folder, storeIn, home, program } = require('./support.cjs')

const TOOLS = ['look', 'put', 'book', 'mail']

/** A store with a tenant, a user and an agent. */
async function site(t) {
  const path = folder(t)
  const store = storeIn(path, `CREATE TABLE public.bookings (tenant_id uuid, key text);
    GRANT ALL ON public.bookings TO agentprovision_app`)
  const platform = await Platform.open({ store })
  const { tenant, root } = await home(platform)
  await platform.close()
  const scenario = { store, effects: join(path, 'effects'), tenant: tenant.id, user: root.id }
  const live = async (fault, agent) => {
    const ended = await program('victim.cjs', { env: { SCENARIO: JSON.stringify({ ...scenario, agent, fault }) } }).ended
    return { ...ended, said: ended.out.trim() ? JSON.parse(ended.out.trim().split('\n').at(-1)) : undefined }
  }
  const made = await live()
  assert.equal(made.code, 0, made.err)
  const effects = () => (existsSync(scenario.effects) ? readFileSync(scenario.effects, 'utf8').trim().split('\n') : [])
  return { live: (fault) => live(fault, made.said.agent), effects }
}

test('a run survives a crash in every tool and in the model, before and after', { timeout: 120_000 }, async (t) => {
  const points = [...TOOLS, 'model'].flatMap((name) => [`before ${name}`, `after ${name}`])
  await Promise.all(points.map(async (fault) => {
    const { live, effects } = await site(t)
    const crashed = await live(fault)
    assert.equal(crashed.signal, 'SIGABRT', `${fault}: ${crashed.err}`)
    const { code, said, err } = await live('never')
    assert.equal(code, 0, err)
    assert.equal(said.status, 'completed')
    // The transaction of the call that was interrupted was rolled back: one booking, however often it was tried.
    assert.equal(said.text, 'bookings 1')
    const doubted = fault.endsWith(' mail')
    assert.deepEqual(said.steps.filter(([name]) => name === 'mail'), [['mail', doubted ? 'uncertain' : 'ok']])
    const done = effects()
    const times = (name) => done.filter((line) => line.startsWith(`${name} `))
    for (const name of TOOLS) {
      // What may be repeated is, where it was interrupted; a worker that was held up for long may do so too. What must
      // not be is called once at most.
      const least = fault === `after ${name}` ? 2 : 1
      if (name === 'mail') assert.equal(times(name).length, fault === 'before mail' ? 0 : 1, fault)
      else assert.ok(times(name).length >= least, `${fault}: ${name}`)
      assert.equal(new Set(times(name)).size, Math.min(1, times(name).length), 'every attempt has the same key')
    }
  }))
})

test('a started run is there for the next process, wherever the first one ends', LIMIT, async (t) => {
  const { live } = await site(t)
  const first = await live('never')
  const second = await live('never')
  assert.deepEqual(second.said, first.said)
})
