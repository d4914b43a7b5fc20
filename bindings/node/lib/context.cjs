'use strict'
// Who acts. A context comes from a platform and from nowhere else.

const { inspect } = require('node:util')
const { InvalidInputError, sync } = require('./errors.cjs')
const { decode } = require('./json.cjs')
const shapes = require('./shapes.cjs')

// What the rest of the package asks of a context, and nobody else can.
let native
let can

class Base {
  static {
    native = (ctx, operation) => {
      if (ctx instanceof Base) return ctx.#caller
      throw new InvalidInputError(`\`${operation}\` takes a context first: one of \`platform.context\` or \`platform.operator\``)
    }
    can = (ctx, permission) => ctx.#link.native.can(ctx.#caller, permission)
  }

  #link
  #caller
  #facts

  constructor(link, caller) {
    if (caller?.constructor?.name !== 'Caller') {
      throw new InvalidInputError('a context is made by `platform.context`, `platform.authenticate` or `platform.operator`')
    }
    this.#link = link
    this.#caller = caller
  }

  get facts() {
    this.#facts ??= decode(sync(() => this.#link.native.describe(this.#caller)), shapes.answered('ContextRecord'), 'the context')
    return this.#facts
  }
}

/** Who acts, for which tenant, with which grants. */
class Context extends Base {
  get tenant() { return this.facts.tenant }
  get user() { return this.facts.user }
  get grants() { return this.facts.grants }
  get key() { return this.facts.key }
  get agent() { return this.facts.agent }
  get expires() { return this.facts.expires }
  get deadline() { return this.facts.deadline }
  get requestId() { return this.facts.requestId }
  get correlationId() { return this.facts.correlationId }

  /** Whether its roles, and its key or agent, give a permission. */
  can(permission) {
    try {
      return can(this, permission)
    } catch (error) {
      if (typeof permission !== 'string') throw new InvalidInputError('a permission is text, such as `agents:run`')
      return sync(() => { throw error })
    }
  }

  [inspect.custom]() { return `Context { ${this.tenant}, ${this.user} }` }
}

/** Who acts above the tenants, and why. */
class OperatorContext extends Base {
  get actor() { return this.facts.actor }
  get reason() { return this.facts.reason }
  get requestId() { return this.facts.requestId }

  [inspect.custom]() { return `OperatorContext { ${this.actor} }` }
}

module.exports = { Context, OperatorContext, native }
