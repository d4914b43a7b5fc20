'use strict'
// For tests of agents: a model with written answers, and a clock that stands still.

const native = require('../native.cjs')
const { decode, encode, snake } = require('./json.cjs')
const { InvalidInputError, sync } = require('./errors.cjs')
const shapes = require('./shapes.cjs')

const scripted = new WeakMap()

/** A model that gives written answers in order. */
class ScriptedModel {
  constructor(name, replies, { price } = {}) {
    if (typeof name !== 'string') throw new InvalidInputError('a model has a name')
    if (!Array.isArray(replies)) throw new InvalidInputError('a scripted model has an array of replies')
    this.name = name
    const text = encode({
      name,
      replies: replies.map(reply),
      price: price && JSON.parse(encode(price, shapes.given('ModelPrice'), 'price')),
    })
    scripted.set(this, sync(() => new native.Scripted(text)))
    Object.freeze(this)
  }

  static native(model) { return scripted.get(model) }

  /** What it was asked so far, in order. */
  requests() {
    return decode(sync(() => scripted.get(this).requests()), { items: shapes.answered('ChatRequest') }, 'the requests')
  }
}

// A text alone is an answer of that text.
function reply(given) {
  if (typeof given === 'string') return { text: given }
  if (given === null || typeof given !== 'object') return given
  return Object.fromEntries(Object.entries(given).map(([key, value]) => [snake(key), value]))
}

const clocks = new WeakMap()

/** A clock that stands still until it is moved, with randomness from a seed. */
class ManualClock {
  constructor({ start, seed = 0 } = {}) {
    const text = encode({ start, seed })
    clocks.set(this, sync(() => new native.Clock(text)))
  }

  static native(clock) { return clocks.get(clock) }

  /** Moves it forward. */
  advance(millis) {
    if (!Number.isFinite(millis) || millis < 0) throw new InvalidInputError('a clock goes forward by milliseconds')
    clocks.get(this).advance(millis)
  }

  /** What it shows. */
  now() { return clocks.get(this).now() }
}

module.exports = { ScriptedModel, ManualClock }
