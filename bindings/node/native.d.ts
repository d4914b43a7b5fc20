// The native half, which is private. A test compares it with the module.

type Value = string | Caller | RunHandle | StreamHandle | Call

/** The JSON Schemas of all operations. */
export function schema(): string
/** The codes of every kind of error, as JSON. */
export function errorKinds(): string

export class Bridge {
  constructor(deliver: (kind: number, id: number, value: Value, thrown: number | null | undefined) => void)
  setClock(clock: Clock): void
  addModel(model: Scripted): void
  open(id: number, config: string, secrets: string, parts: string): void
  close(id: number): void
  retire(): void
  operator(args: string): Caller
  context(id: number, operation: string, args: string): void
  receive(id: number, args: string): void
  invoke(id: number, caller: Caller, operation: string, args: string): void
  ask(id: number, caller: Caller, operation: string, args: string): void
  start(id: number, caller: Caller, operation: string, args: string): void
  stream(id: number, caller: Caller, operation: string, args: string): void
  can(caller: Caller, permission: string): boolean
  describe(caller: Caller): string
  models(): string
  abandon(id: number): void
  bench(id: number, caller: Caller, what: string, agent: string, times: number): void
}

export class Caller {
  constructor()
}

export class RunHandle {
  constructor()
  readonly id: string
  events(after?: string | null): StreamHandle
  wait(id: number): void
}

export class StreamHandle {
  constructor()
  next(id: number): void
  close(): void
}

export class Call {
  constructor()
  readonly number: number
  input(): string | null
  caller(): Caller | null
  facts(): string | null
  operation(): string | null
  credentials(): string | null
  send(id: number, args: string): void
  push(json: string): boolean
  done(json: string): void
  fail(error: string, thrown: number): void
  watch(): void
  txExecute(id: number, args: string): void
  txQuery(id: number, args: string): void
}

export class Scripted {
  constructor(args: string)
  requests(): string
}

export class Clock {
  constructor(args: string)
  advance(millis: number): void
  now(): string
}
