'use strict'
// One link per platform: counts the calls under way, and gives what comes back to whoever waits for it.

const { setInterval } = require('node:timers')
const native = require('../native.cjs')
const { ClosedError, fromRecord } = require('./errors.cjs')
const { translate } = require('./shapes.cjs')

// The numbers of src/mailbox.rs.
const RESOLVED = 0
const REJECTED = 1
const CALLED = 2
const GONE = 3

// An open platform is never collected: its runs go on, and its tools are asked for, whoever holds it.
const open = new Set()

// The process lives while a call is under way, and no longer: nothing native keeps it alive.
let underWay = 0
let alive
function begin() {
  alive ??= setInterval(() => {}, 0x7fffffff)
  if ((underWay += 1) === 1) alive.ref()
}
function end() {
  if ((underWay -= 1) === 0) alive.unref()
}

// Errors made here, unlike those of the host that come back as themselves.
const made = new WeakSet()

class Link {
  #calls = new Map()
  #last = 0
  #functions = []
  #thrown = new Map()
  #thrownLast = 0
  #gone = new Map()
  #retired = false

  constructor() {
    const self = new WeakRef(this)
    // Weak, so that the function the native half holds does not keep the link that holds the native half.
    this.native = new native.Bridge((...letter) => self.deref()?.deliver(...letter))
    open.add(this)
  }

  /** Adds a function the platform may call; its place is the number the native half knows it by. */
  serve(functions) {
    this.#functions = functions
  }

  /** Makes a native call that answers by its number. A quiet one does not keep the process alive. */
  async call(start, quiet = false) {
    try {
      return await this.track(start, quiet).promise
    } catch (error) {
      // Made where the answer arrived, which says nothing; from here the stack has who waits for it.
      if (made.delete(error)) Error.captureStackTrace(error, this.call)
      throw error
    }
  }

  track(start, quiet = false) {
    const id = (this.#last = (this.#last + 1) >>> 0)
    if (!quiet) begin()
    const promise = new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject, quiet }))
    try {
      start(id)
    } catch (error) {
      this.#settle(id)?.reject(error)
    }
    return { id, promise }
  }

  /** A call that the signal ends, with the signal's reason. */
  wait(start, signal) {
    if (!signal) return this.call(start)
    if (signal.aborted) return Promise.reject(signal.reason)
    const { id, promise } = this.track(start)
    const abort = () => {
      const call = this.#settle(id)
      this.native.abandon(id)
      call?.reject(signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    return promise.finally(() => signal.removeEventListener('abort', abort))
  }

  #settle(id) {
    const call = this.#calls.get(id)
    if (call) {
      this.#calls.delete(id)
      if (!call.quiet) end()
      if (this.#retired && this.#calls.size === 0) open.delete(this)
    }
    return call
  }

  deliver(kind, id, value, thrown) {
    switch (kind) {
      case RESOLVED:
        this.#settle(id)?.resolve(value)
        break
      case REJECTED:
        this.#settle(id)?.reject(this.#error(value, thrown))
        break
      case CALLED:
        this.#functions[id](value)
        break
      case GONE:
        this.#gone.get(id)?.()
        this.#gone.delete(id)
        break
      default:
        this.#thrown.delete(id)
    }
  }

  #error(text, thrown) {
    if (this.#thrown.has(thrown)) return this.#thrown.get(thrown)
    const record = JSON.parse(text)
    const error = fromRecord({ ...record, message: translate(record.message) })
    made.add(error)
    return error
  }

  /** Keeps what a function threw for as long as an error of the native half stands for it. */
  keep(thrown) {
    const number = (this.#thrownLast = (this.#thrownLast + 1) >>> 0)
    this.#thrown.set(number, thrown)
    return number
  }

  /** What to do when nobody waits any more for the answer of a function's call, unless it is answered before. */
  whenGone(call, then) {
    this.#gone.set(call.number, then)
    call.watch()
  }

  /** A call that is answered is gone too, which is nobody's concern. */
  answered(call) {
    if (this.#gone.size > 0) this.#gone.delete(call.number)
  }

  /** Exceptions that are kept at the moment, for tests. */
  get kept() { return this.#thrown.size }

  /** Says so where the platform is closed, for what would be answered without it. */
  check() {
    if (this.#retired) throw new ClosedError('the platform is closed')
  }

  /** Stops the threads. What is still under way fails as closed. */
  retire() {
    if (this.#retired) return
    this.#retired = true
    this.native.retire()
    if (this.#calls.size === 0) open.delete(this)
  }
}

module.exports = { Link }
