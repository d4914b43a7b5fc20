'use strict'
// What crosses is JSON text. Nothing is rounded, dropped or replaced on the way: what JSON cannot hold is refused with
// its place. Keys of records are camelCase here and snake_case there; keys of the host's own JSON are left alone.

const { isDate } = require('node:util').types
const { InvalidInputError, classes } = require('./errors.cjs')

const DEEPEST = 120
// JSON.stringify writes integers below this in digits, which the other side reads as integers.
const DIGITS = 1e21

const refuse = (path, why) => new InvalidInputError(`\`${path || 'the value'}\` ${why}`)
const at = (path, key) => {
  if (typeof key === 'number') return `${path}[${key}]`
  return path ? `${path}.${key}` : String(key)
}

/** JSON text of a value, with the keys of the records in `shape` renamed. `path` is what messages call the value. */
function encode(value, shape, path = '') {
  const plain = take(value, shape, path, [])
  if (plain === undefined) throw refuse(path, 'is undefined, where a value is needed')
  return JSON.stringify(plain)
}

function take(given, shape, path, above) {
  let value = given
  if (value !== null && typeof value === 'object') {
    // Before they are asked: an invalid date would say null, and a Buffer an object of numbers.
    if (isDate(value) && Number.isNaN(value.getTime())) throw refuse(path, 'is an invalid Date')
    if (ArrayBuffer.isView(value)) throw noJson(path, value, 'view of bytes')
    if (typeof value.toJSON === 'function') value = value.toJSON()
  }
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return value
    case 'number':
      if (!Number.isFinite(value)) throw refuse(path, `is ${value}, which JSON does not have`)
      if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < DIGITS) {
        throw refuse(path, 'is an integer beyond 2^53, which a number does not hold exactly; give it as text')
      }
      return value
    case 'bigint':
      throw refuse(path, 'is a BigInt, which JSON does not have; give a number or text')
    case 'object':
      return value === null ? null : takeObject(value, shape, path, above)
    default:
      throw refuse(path, `is a ${typeof value}, which JSON does not have`)
  }
}

const NO_JSON = [Map, Set, WeakMap, WeakSet, Promise, RegExp, Error, ArrayBuffer, SharedArrayBuffer]

function noJson(path, value, kind) {
  return refuse(path, `is a ${value.constructor?.name ?? kind}, which JSON does not have`)
}

function takeObject(value, shape, path, above) {
  if (above.includes(value)) throw refuse(path, 'contains itself')
  if (above.length >= DEEPEST) throw refuse(path, `is nested deeper than ${DEEPEST} levels`)
  if (shape?.id && typeof value.id === 'string') return value.id
  above.push(value)
  let plain
  if (Array.isArray(value)) {
    plain = []
    for (let index = 0; index < value.length; index += 1) {
      const item = take(value[index], shape?.items, at(path, index), above)
      if (item === undefined) throw refuse(at(path, index), 'is undefined, where a value is needed')
      plain.push(item)
    }
  } else {
    const wrong = NO_JSON.find((kind) => value instanceof kind)
    if (wrong) throw noJson(path, value, wrong.name)
    plain = {}
    for (const key of Object.keys(value)) {
      const known = shape?.given?.get(key)
      const item = take(value[key], known ? known.shape : shape?.values, at(path, key), above)
      if (item === undefined) continue
      const name = known ? known.name : key
      if (Object.hasOwn(plain, name)) throw twice(at(path, key), name, key)
      define(plain, name, item)
    }
  }
  above.pop()
  return plain
}

/** The refusal of a key that has its name from another one. */
function twice(path, name, key) {
  return refuse(path, `is given twice, also as \`${key === name ? camel(name) : name}\``)
}

// An own property, whatever the key: `__proto__` is a key like any other.
function define(object, key, value) {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true })
  } else {
    object[key] = value
  }
}

const LONG = /[0-9]{16}/
const TOKENS = /"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*/g

/** Whether a JSON text has an integer that a number does not hold. Floating-point numbers are what they are. */
function rounds(text) {
  if (!LONG.test(text)) return false
  for (const [token] of text.matchAll(TOKENS)) {
    if (/^-?[0-9]{16,}$/.test(token) && !Number.isSafeInteger(Number(token))) return true
  }
  return false
}

/** The value in JSON text, with the keys of the records in `shape` renamed. Integers that would be rounded are refused. */
function decode(text, shape, what, Refusal = classes.unsupported) {
  const value = JSON.parse(text)
  if (rounds(text)) exact(value, '', what, Refusal)
  return shape ? give(value, shape) : value
}

function exact(value, path, what, Refusal) {
  if (typeof value === 'number') {
    if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
      throw new Refusal(`${what} has an integer beyond 2^53 at \`${path || '.'}\`, which a number does not hold exactly`)
    }
  } else if (Array.isArray(value)) {
    value.forEach((item, index) => exact(item, at(path, index), what, Refusal))
  } else if (value !== null && typeof value === 'object') {
    for (const key of Object.keys(value)) exact(value[key], at(path, key), what, Refusal)
  }
}

function give(value, shape) {
  if (!shape || value === null || typeof value !== 'object') return value
  if (Array.isArray(value)) return shape.items ? value.map((item) => give(item, shape.items)) : value
  if (!shape.answered && !shape.values) return value
  const record = {}
  for (const key of Object.keys(value)) {
    const known = shape.answered?.get(key)
    const inner = give(value[key], known ? known.shape : shape.values)
    if (known?.shape?.secret) {
      // There for who asks for it; not for who prints the record.
      Object.defineProperty(record, known.name, { value: inner, enumerable: false })
    } else {
      define(record, known ? known.name : key, inner)
    }
  }
  return record
}

const camel = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase())
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** The shape of records with these keys, in snake_case; each is `true` or the shape of its value. */
function record(keys) {
  const given = new Map()
  const answered = new Map()
  for (const [name, shape] of Object.entries(keys)) {
    const inner = shape === true ? undefined : shape
    given.set(camel(name), { name, shape: inner })
    answered.set(name, { name: camel(name), shape: inner })
  }
  return { given, answered }
}

/** A signal, where one is given. */
function signalIn(signal) {
  if (signal == null) return undefined
  if (typeof signal.addEventListener === 'function' && typeof signal.aborted === 'boolean') return signal
  throw new InvalidInputError('`signal` is not an AbortSignal')
}

/** Options with these names; another one is refused. */
function only(names, given) {
  if (given == null) return {}
  if (typeof given !== 'object') throw new InvalidInputError('options are an object')
  const unknown = Object.keys(given).find((name) => !names.includes(name))
  if (unknown !== undefined) {
    throw new InvalidInputError(`unknown option \`${unknown}\`; there are ${names.map((name) => `\`${name}\``).join(' and ')}`)
  }
  return given
}

module.exports = { signalIn, only, twice, encode, decode, camel, snake, record }
