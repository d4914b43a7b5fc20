'use strict'
// Processes and threads that end with work in flight: no crash, no hang, nothing left.

const { test } = require('node:test')
const assert = require('node:assert/strict')
const { LIMIT, folder, storeIn, open, home, program } = require('./support.cjs')

const endings = [
  ['nothing waits', { code: 0 }],
  ['a wait', { code: 0, says: 'an answer' }],
  ['exit', { code: 3, says: 'in the tool' }],
  ['exit in a tool', { code: 3, says: 'in the tool' }],
  ['exit while opening', { code: 3 }],
  ['an exception', { code: 1, complains: /it is over/ }],
  ['a signal', { signal: 'SIGTERM' }],
  ['closed in the middle', { code: 0, says: 'waiting closed' }],
]
for (const [how, wanted] of endings) {
  test(`a process that ends so: ${how}`, LIMIT, async () => {
    // A close lets the step under way end for ten seconds, which once is enough of.
    const turns = how === 'closed in the middle' ? 1 : 3
    for (let turn = 0; turn < turns; turn += 1) {
      const { code, signal, out, err } = await program('endings.cjs', { args: [how] }).ended
      assert.equal(signal, wanted.signal ?? null, err)
      assert.equal(code, wanted.code ?? null, err)
      if (wanted.says) assert.match(out, new RegExp(wanted.says))
      if (wanted.complains) assert.match(err, wanted.complains)
      else assert.equal(err, '')
    }
  })
}

test('worker threads end with their platforms', LIMIT, async (t) => {
  const { code, signal, out, err } = await program('worker.cjs', { args: [storeIn(folder(t))] }).ended
  t.diagnostic(out.trim().replace('\n', '; '))
  assert.deepEqual([code, signal], [0, null], out + err)
  assert.match(out, /done, [1-9]\d* calls in doubt/)
})

test('what nobody holds is collected without harm', LIMIT, async () => {
  const { code, signal, out, err } = await program('early_gc.cjs', { node: ['--expose-gc'] }).ended
  assert.deepEqual([code, signal, err], [0, null, ''], out + err)
  const lost = '{"kind":"internal","message":"the host\'s function ended without an answer"}'
  assert.deepEqual(out.trim().split('\n'), ['done', lost, lost, 'true', 'run_', 'alive'])
})

test('handles say nothing secret', LIMIT, async (t) => {
  const { inspect } = require('node:util')
  const platform = await open(t, { pepperEnv: 'P', secrets: { P: 'a very secret pepper' } })
  const { admin, operator } = await home(platform)
  for (const handle of [platform, admin, operator]) {
    assert.ok(!inspect(handle, { depth: 20, showHidden: true }).includes('secret'))
    assert.ok(!(JSON.stringify(handle) ?? '').includes('secret'))
  }
})
