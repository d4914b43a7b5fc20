'use strict'
// One class of error per kind, under one base. What crosses from the native half is JSON.

/** Every error of the package. */
class AgentProvisionError extends Error {
  constructor(message, options = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    const { code, retryable = false, retryAfter = null, operation = null, context = {}, spent = null, httpStatus } = options
    this.code = code ?? this.constructor.code ?? 'internal'
    this.retryable = retryable
    this.retryAfter = retryAfter
    this.operation = operation
    this.context = Object.freeze({ ...context })
    this.spent = spent
    this.httpStatus = httpStatus ?? STATUS[this.code] ?? 500
  }
}
Object.defineProperty(AgentProvisionError.prototype, 'name', {
  value: 'AgentProvisionError', configurable: true, writable: true,
})

/** The HTTP status of each kind; a test compares it with the native half. */
const STATUS = {
  invalid_input: 400, unauthenticated: 401, budget_exceeded: 402, permission_denied: 403, tenant_suspended: 403,
  blocked: 403, foreign_context: 403, not_found: 404, conflict: 409, already_exists: 409, idempotency_mismatch: 409,
  fenced: 409, uncertain: 409, too_large: 413, price_unknown: 422, content_policy: 422, context_window: 422,
  rate_limited: 429, quota_exceeded: 429, cancelled: 499, internal: 500, corrupt: 500, unsupported: 501,
  provider_error: 502, incomplete: 502, unavailable: 503, read_only: 503, schema_too_new: 503, closed: 503,
  deadline_exceeded: 504,
}

const classes = {}
for (const code of Object.keys(STATUS)) {
  const words = code.split('_').map((word) => word[0].toUpperCase() + word.slice(1)).join('')
  const name = words.endsWith('Error') ? words : `${words}Error`
  const made = {
    [name]: class extends AgentProvisionError {
      static code = code
    },
  }[name]
  Object.defineProperty(made.prototype, 'name', { value: name, configurable: true, writable: true })
  classes[code] = made
}

const InvalidInputError = classes.invalid_input
const ClosedError = classes.closed

/** The error that JSON of the native half describes. */
function fromRecord(record, cause) {
  const { code, message, retryable, retry_after_ms: after, operation, context, http_status: httpStatus } = record
  const Class = classes[code] ?? AgentProvisionError
  return new Class(message, {
    code, retryable, operation, context, httpStatus, cause,
    spent: record.spent ? spentOf(record.spent) : null,
    retryAfter: after == null ? null : after / 1000,
  })
}

function spentOf(record) {
  // Both know the errors here.
  const { decode } = require('./json.cjs')
  const shapes = require('./shapes.cjs')
  return decode(JSON.stringify(record), shapes.of('models.stream').answer, 'what was spent')
}

/** Runs a native call that throws at once, and throws what it means. */
function sync(call) {
  try {
    return call()
  } catch (error) {
    const text = typeof error?.message === 'string' ? error.message : ''
    if (!text.startsWith('{"')) throw error
    let record
    try {
      record = JSON.parse(text)
    } catch {
      throw error
    }
    throw fromRecord(record)
  }
}

/**
 * What a function of the host threw, as the native half reads it. What a tool or an operation throws is for the model to read. Of the
 * others only an error of this package speaks for itself: the message of any other may hold what tenants shall not read.
 */
function toRecord(thrown, role) {
  const record = { code: 'internal', message: 'it failed with something that cannot be read', retryable: false, retry_after_ms: null, operation: null }
  try {
    // Anything can be thrown, also what throws when it is looked at.
    const ours = thrown instanceof AgentProvisionError
    record.message = ours || role === 'tool' || role === 'operation' ? wellFormed(describe(thrown)) : `the host's ${role} failed: ${classOf(thrown)}`
    if (ours) {
      if (Object.hasOwn(STATUS, thrown.code)) record.code = thrown.code
      record.retryable = thrown.retryable === true
      record.retry_after_ms = Math.max(0, Math.round(Math.min(Number(thrown.retryAfter) || 0, 1e9) * 1000))
      if (typeof thrown.operation === 'string') record.operation = thrown.operation
    } else if (Object.hasOwn(KINDS, thrown?.name ?? '')) {
      record.code = KINDS[thrown.name]
    }
  } catch {
    // Then what is known of it so far is what is said.
  }
  return record
}

// What errors of JavaScript and its platforms mean. A TypeError and a RangeError are nearly always defects.
const KINDS = { AbortError: 'cancelled', TimeoutError: 'deadline_exceeded' }

function classOf(value) {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return `${value === null ? 'null' : typeof value} was thrown`
  const name = value.constructor?.name
  // Whoever makes a class may call it anything.
  return typeof name === 'string' && /^[\w$]{1,64}$/.test(name) ? name : 'Error'
}

function describe(value) {
  if (value instanceof Error) return value.message || value.name
  if (typeof value === 'string') return value
  if (value && typeof value === 'object') return `an object of ${value.constructor?.name ?? 'no class'} was thrown`
  return `${String(value)} was thrown`
}

/** Text that has a UTF-8 form. A message is for reading, so what has none is replaced there, and only there. */
function wellFormed(text) {
  return text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd')
}

module.exports = { AgentProvisionError, InvalidInputError, ClosedError, classes, STATUS, fromRecord, toRecord, sync }
