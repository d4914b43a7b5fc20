// The package as TypeScript sees it. Records and arguments are in `types.d.ts`, which is made from the platform's schemas.

import type * as t from './types.js'
import type { ManualClock, ScriptedModel } from './testing.js'
import type { AgentProvisionError } from './errors.js'

export type * from './types.js'
export * from './errors.js'

/** Something by its id, or the record that has it. */
export type Ref<Id extends string> = Id | { readonly id: Id }

/** A page of a list. */
export type PageQuery = t.ListedArguments

// ---- the platform

/** A provider of models: its type alone, or with its settings. */
export type ProviderConfig =
  | 'openai'
  | {
      type: 'openai'
      /** The variable with the key; default `OPENAI_API_KEY`. */
      keyEnv?: string
      /** Another address, with the path before `/chat/completions`. */
      baseUrl?: string
    }
  | {
      type: 'openai_compatible'
      /** The name agents put before a model's, as in `name/model`. */
      name: string
      /** The address, with the path before `/chat/completions`. */
      baseUrl: string
      /** The variable with the key; none is sent where absent. */
      keyEnv?: string
    }

/** A database that keeps tenants. */
export interface ShardConfig {
  /** 1 to 64 lower-case letters, digits, `-` and `_`; it stays with the database. */
  name: string
  /** `sqlite://path` or `postgres://…`. */
  url: string
  /** How many tenants it gets in proportion to the others; above 0, default 1. */
  weight?: number
  /** Where it is: tenants of a region are kept in shards of that region only. */
  region?: string
}

/** The configuration of a platform: plain data, as a file would hold it. Other options go through untouched. */
export interface PlatformConfig {
  /** The store: `sqlite://path` or `memory://`; default `memory://`, which is gone with the process. */
  store?: string
  /** Several databases instead of one store; the first one also has what is above tenants. */
  shards?: ShardConfig[]
  /** Providers of models. */
  providers?: ProviderConfig[]
  /** Permissions of the host's own, `resource:verb`. */
  permissions?: string[]
  /** Roles of the host's own. */
  roles?: RoleConfig[]
  /** The variable with the secret under which API keys are digested, at least 16 bytes. */
  pepperEnv?: string
  /** Settings of the engine. */
  engine?: EngineConfig
  /** Where backups of tenants go, and when they are made; none where absent. */
  backups?: BackupConfig
  /** How requests to models are routed. */
  routing?: RoutingConfig
  /**
   * Connectors that tenants can make integrations of: names of those of the library such as `github`, and connectors of
   * your own. As an object it says more.
   */
  connectors?: readonly (string | Connector)[] | ConnectorsConfig
  /** How deliveries of webhooks are worked on: how many at once, how long one may take, how often is looked, how long they are kept. */
  webhooks?: { atOnce?: number; termMs?: number; pollMs?: number; keepS?: number }
  /** What surrounds every model: `guards`, `cache`, `embeddingCache`, `validate`, `rateLimits`, `budgets`. */
  layers?: Record<string, unknown>
  /**
   * Models and prices that go over those the library knows, and the terms of single tenants, in the catalogue's own
   * format: `{ format: 1, unit: 'usd_per_million_tokens', providers: …, tenants: … }`. Its keys stay as they are.
   */
  catalog?: Record<string, unknown>
}

/** Connectors, and where they may go. */
export interface ConnectorsConfig {
  /** Connectors of the library by name, and of your own. */
  enabled?: readonly (string | Connector)[]
  /** Applications that are registered at vendors, by connector. */
  apps?: Record<string, { clientId: string; clientSecretEnv?: string }>
  /** Networks of the host's that tenants may name URLs of; the internet alone where empty. */
  networks?: { name: string; ranges: string[]; plainHttp?: boolean; anyPort?: boolean }[]
  /** The variable with the keys that credentials are sealed with; without one a store that lasts takes none. */
  sealingKeyEnv?: string
  /** A file with such keys, one a line. */
  sealingKeyFile?: string
}

/** How requests to models are routed. Everything has a default. */
export interface RoutingConfig {
  /** How targets are put in order where a route does not say; default `ordered`. */
  strategy?: RoutingStrategy
  /** Names that stand for several models. */
  routes?: Record<string, RouteConfig>
  /** Models or routes that are tried, in order, after the model that is named: by its name. */
  fallbacks?: Record<string, string[]>
  /** Models that were made for their task: they fall back only to what a request lists. */
  custom?: string[]
  /** Quality of models by the host's own measure, 0 to 1000; 500 where unknown. A key `tag=value:model` holds for that tag. */
  quality?: Record<string, number>
  /** How far below the best quality a model counts as equally good, 0 to 1000; default 10. */
  qualityTolerance?: number
  /** Where models are served, by provider or by model. */
  regions?: Record<string, string>
  /** What tenants may use, by id; a tenant that is not listed may use everything. */
  tenants?: Record<string, TenantRouting>
  /** The highest prices a target may have, in pico-USD per token; what has no price is left out. */
  priceCap?: { input?: number; output?: number }
  /** The most requests to providers for one request, everything counted; default 4. */
  maxAttempts?: number
  /** How often one target is asked again; default 2. */
  retries?: number
  /** The longest a whole answer may take, in milliseconds; default 600000. */
  timeoutMs?: number
  /** The longest the first piece of a streamed answer may take while others can be asked, in milliseconds; default 60000. */
  firstEventMs?: number
  /** The longest an answer in one piece may take while others can be asked, in milliseconds; default 300000. */
  attemptMs?: number
  /** The longest pause within a streamed answer, in milliseconds; default 120000. */
  idleMs?: number
  /** The pause before a target is asked again, in milliseconds, doubled each time; default 500. */
  backoffMs?: number
  /** The longest such pause, in milliseconds; default 8000. */
  backoffMaxMs?: number
  /** The longest pause a provider asks for that is waited for, in milliseconds; default 60000. */
  waitMaxMs?: number
  /** When a target is left alone after failures. */
  breaker?: {
    windowMs?: number
    minSamples?: number
    failurePerCent?: number
    consecutive?: number
    openMs?: number
    openMaxMs?: number
  }
  /** A second request beside a slow one, for at most so many of all requests; none where absent. */
  hedge?: { perCent?: number }
}

/** Puts the targets of a route in order. */
export type RoutingStrategy = 'ordered' | 'performance' | 'cost' | 'balanced' | 'quality' | 'weighted' | 'sticky'

/** A name that stands for several models. */
export interface RouteConfig {
  /** The models, as `provider/model`, a registered model, or another route. */
  targets: (string | { model: string; weight?: number; custom?: boolean })[]
  /** How they are put in order. */
  strategy?: RoutingStrategy
  /** Models or routes that are tried when none of the targets can answer, in order. */
  fallbacks?: string[]
}

/** What a tenant may use. */
export interface TenantRouting {
  /** Models, as `provider/model`, a registered name, or a prefix before `*`; all where empty. */
  allow?: string[]
  /** Regions; all where empty. */
  regions?: string[]
}

/** A role of the host's own. */
export interface RoleConfig {
  /** The name: 1 to 64 lower-case letters, digits and underscores. */
  name: string
  /** Roles whose permissions it has too. */
  contains?: string[]
  /** Roles that have its permissions too, and can therefore assign it. */
  within?: string[]
  /** Its own permissions. */
  permissions?: string[]
}

/** Settings of the engine; an absent one keeps its default. */
export interface EngineConfig {
  /** Milliseconds a run is held without being renewed. */
  leaseMs?: number
  /** Runs that are driven at the same time. */
  maxRuns?: number
  /** Runs of one tenant that are driven at the same time; as many as of all where absent. */
  maxRunsPerTenant?: number
  /** Milliseconds between looks for runs that nobody holds. */
  pollMs?: number
  /** Milliseconds a model may be silent. */
  modelIdleMs?: number
}

/** Where backups of tenants go, and when they are made. */
export interface BackupConfig {
  /** The folder of their files, which must be there. */
  folder: string
  /** Seconds between the backups of a tenant; only when somebody asks for them where absent. */
  everyS?: number
  /** How many completed ones of a tenant are kept; default 7. */
  keep?: number
  /** Seconds that making one may take; default 3600. */
  patienceS?: number
}

/** What a platform is opened with: its configuration, and what is written in JavaScript. */
export interface PlatformOptions extends PlatformConfig {
  /** Tools agents may use. */
  tools?: readonly Tool[]
  /** Models of the host's own. */
  models?: readonly (Model | ScriptedModel)[]
  /** Decides after the roles did; nothing back keeps what they say. A failure denies. */
  authorizer?: Authorizer | null
  /** Get every event, in order, at least once: a batch that fails comes again. */
  subscribers?: readonly Subscriber[]
  /** Values of the variables that `…Env` options name; asked before the environment of the process. */
  secrets?: Readonly<Record<string, string>>
  /** A clock and randomness for tests. */
  clock?: ManualClock | null
}

/** A platform: tenants, users, agents and runs over one store. */
export class Platform {
  private constructor()
  /**
   * Opens a platform. An open platform drives runs until it is closed, whoever holds it; it does not keep the process
   * alive. A process that ends without closing loses nothing: another goes on from the journal.
   */
  static open(options?: PlatformOptions | string): Promise<Platform>

  readonly tenants: Tenants
  readonly archives: Archives
  readonly backups: Backups
  readonly placements: Placements
  readonly users: Users
  readonly keys: Keys
  readonly agents: Agents
  readonly runs: Runs
  readonly sessions: Sessions
  readonly audit: Audit
  readonly usage: Usage
  readonly events: Events
  readonly models: Models
  readonly connectors: Connectors
  readonly integrations: Integrations
  readonly webhooks: Webhooks

  /** A context above the tenants. Who acts and why are recorded with everything done with it. */
  operator(actor: string, reason: string): OperatorContext
  /** A context for a user whom the host has authenticated itself: checks membership and loads grants. */
  context(tenant: Ref<t.TenantId>, user: Ref<t.UserId>, info?: t.Info): Promise<Context>
  /** A context for whoever an API key belongs to. */
  authenticate(apiKey: string, info?: t.Info): Promise<Context>
  /**
   * Stops taking up runs, lets steps under way end for a while, and closes the store. Closing twice is harmless. A
   * function that the platform waits for cannot close it: `conflict`.
   */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

// ---- who acts

/** Who acts, for which tenant, with which grants. */
export class Context {
  private constructor()
  readonly tenant: t.TenantId
  readonly user: t.UserId
  /** Permissions by name. */
  readonly grants: string[]
  readonly key: t.ApiKeyId | null
  /** The agent that acts on the user's behalf, in a run. */
  readonly agent: t.AgentId | null
  readonly expires: t.Timestamp | null
  readonly deadline: t.Timestamp | null
  readonly requestId: t.RequestId
  readonly correlationId: string
  /** Whether its grants have a permission, such as `agents:run`. */
  can(permission: string): boolean
}

/** Who acts above the tenants, and why. */
export class OperatorContext {
  private constructor()
  readonly actor: string
  readonly reason: string
  readonly requestId: t.RequestId
}

// ---- services

/** Tenants, for operators. */
export interface Tenants {
  create(operator: OperatorContext, tenant: t.TenantCreateArguments): Promise<t.Tenant>
  get(operator: OperatorContext, tenant: Ref<t.TenantId>): Promise<t.Tenant>
  list(operator: OperatorContext, query?: PageQuery): Promise<t.Page<t.Tenant>>
  iterate(operator: OperatorContext, query?: PageQuery): AsyncIterableIterator<t.Tenant>
  /** The tenant of a context. */
  own(ctx: Context): Promise<t.Tenant>
  /** A plan of null is removed. */
  update(
    operator: OperatorContext, tenant: Ref<t.TenantId>, changes: Omit<t.TenantChangeArguments, 'tenant'>,
  ): Promise<t.Tenant>
  suspend(operator: OperatorContext, tenant: Ref<t.TenantId>): Promise<t.Tenant>
  resume(operator: OperatorContext, tenant: Ref<t.TenantId>): Promise<t.Tenant>
  /** An archive of null, which has to be said, is no archive and no way back. */
  delete(
    operator: OperatorContext, tenant: Ref<t.TenantId>, last: { archive: string | null },
  ): Promise<t.Tenant>
  /** Makes the first admin of a tenant. */
  bootstrapAdmin(
    operator: OperatorContext, tenant: Ref<t.TenantId>, admin: Omit<t.AdminCreateArguments, 'tenant'>,
  ): Promise<t.User>
}

/** Tenants as files, for operators. Stores in memory have none. */
export interface Archives {
  /** Writes everything of a tenant, as of one moment, to a new file. */
  export(operator: OperatorContext, tenant: Ref<t.TenantId>, path: string): Promise<t.ArchiveSummary>
  /** Reads an archive to its end and checks all of it. */
  verify(operator: OperatorContext, path: string): Promise<t.ArchiveSummary>
  /** Makes a suspended tenant of an archive, all of it or nothing. */
  restore(
    operator: OperatorContext, path: string, options?: Omit<t.ArchiveRestoreArguments, 'path'>,
  ): Promise<t.Restored>
}

/** Backups of tenants, for operators: archives in the folder of the option `backups`. Stores in memory have none. */
export interface Backups {
  /** Makes a backup now, and fails with what it failed with. */
  run(operator: OperatorContext, tenant: Ref<t.TenantId>): Promise<t.Backup>
  list(operator: OperatorContext, tenant: Ref<t.TenantId>, query?: PageQuery): Promise<t.Page<t.Backup>>
  iterate(operator: OperatorContext, tenant: Ref<t.TenantId>, query?: PageQuery): AsyncIterableIterator<t.Backup>
  get(operator: OperatorContext, tenant: Ref<t.TenantId>, backup: Ref<t.BackupId>): Promise<t.Backup>
}

/** Where tenants are kept, on a platform with several databases. */
export interface Placements {
  get(operator: OperatorContext, tenant: Ref<t.TenantId>): Promise<t.Placement>
  list(operator: OperatorContext, query?: PageQuery): Promise<t.Page<t.Placement>>
  iterate(operator: OperatorContext, query?: PageQuery): AsyncIterableIterator<t.Placement>
  /** The tenants that belong elsewhere by their pins, their regions and the weights of today; nothing is moved. */
  plan(operator: OperatorContext): Promise<t.Rebalance[]>
  /**
   * Moves a tenant to another shard while it is read; changes are refused meanwhile, to be tried again. Moving it again
   * goes on where a mover died; moving it to where it is at home undoes what was begun.
   */
  moveTenant(operator: OperatorContext, tenant: Ref<t.TenantId>, to: string): Promise<t.Placement>
  /** Says which shard a tenant belongs in, whatever the hash says; null lets the hash say it again. */
  pin(operator: OperatorContext, tenant: Ref<t.TenantId>, shard: string | null): Promise<t.Placement>
}

/** The users of a tenant. */
export interface Users {
  create(ctx: Context, user: t.UserCreateArguments): Promise<t.User>
  get(ctx: Context, user: Ref<t.UserId>): Promise<t.User>
  list(ctx: Context, query?: PageQuery): Promise<t.Page<t.User>>
  iterate(ctx: Context, query?: PageQuery): AsyncIterableIterator<t.User>
  /** A name of null is removed. */
  update(ctx: Context, user: Ref<t.UserId>, changes: Omit<t.UserChangeArguments, 'user'>): Promise<t.User>
  delete(ctx: Context, user: Ref<t.UserId>): Promise<null>
}

/** The API keys of users. */
export interface Keys {
  /** The answer's `secret` is shown this once, and by no printing of the record. */
  create(
    ctx: Context, key: Omit<t.KeyCreateArguments, 'user'> & { user?: Ref<t.UserId> | null },
  ): Promise<t.NewApiKey>
  get(ctx: Context, key: Ref<t.ApiKeyId>): Promise<t.ApiKey>
  list(ctx: Context, query?: PageQuery): Promise<t.Page<t.ApiKey>>
  iterate(ctx: Context, query?: PageQuery): AsyncIterableIterator<t.ApiKey>
  listOwn(ctx: Context, query?: PageQuery): Promise<t.Page<t.ApiKey>>
  iterateOwn(ctx: Context, query?: PageQuery): AsyncIterableIterator<t.ApiKey>
  revoke(ctx: Context, key: Ref<t.ApiKeyId>): Promise<null>
}

/** What an agent is; its model and its tools may be given as themselves. */
export interface AgentDefinition extends Omit<t.AgentSpecInput, 'name' | 'tools' | 'model'> {
  name: string
  /** By name, or the model itself. */
  model?: string | Model | ScriptedModel
  /** By name, or the tools themselves. */
  tools?: readonly (string | Tool)[]
}

export interface Agents {
  validate(ctx: Context, spec: AgentDefinition): Promise<t.Validation>
  create(ctx: Context, spec: AgentDefinition): Promise<t.AgentRecord>
  get(ctx: Context, agent: Ref<t.AgentId>): Promise<t.AgentRecord>
  version(ctx: Context, agent: Ref<t.AgentId>, version: t.VersionHash): Promise<t.AgentSpec>
  list(ctx: Context, query?: t.AgentListArguments): Promise<t.Page<t.AgentRecord>>
  iterate(ctx: Context, query?: t.AgentListArguments): AsyncIterableIterator<t.AgentRecord>
  /** Adds a version; what runs start on stays until `deploy`. */
  update(ctx: Context, agent: Ref<t.AgentId>, spec: AgentDefinition): Promise<t.AgentRecord>
  deploy(ctx: Context, agent: Ref<t.AgentId>): Promise<t.AgentRecord>
  rollback(ctx: Context, agent: Ref<t.AgentId>, to: t.VersionHash): Promise<t.AgentRecord>
  pause(ctx: Context, agent: Ref<t.AgentId>): Promise<t.AgentRecord>
  resume(ctx: Context, agent: Ref<t.AgentId>): Promise<t.AgentRecord>
  retire(ctx: Context, agent: Ref<t.AgentId>): Promise<t.AgentRecord>
  delete(ctx: Context, agent: Ref<t.AgentId>): Promise<null>
}

/** How a run is started, beside its agent and its input. */
export interface StartOptions extends Omit<t.RunStartArguments, 'agent' | 'input' | 'session'> {
  /** The session the run is a turn of. */
  session?: Ref<t.SessionId> | null
  /** Cancels the run when it aborts; the start needs `runs:cancel` then. */
  signal?: AbortSignal
}

/** How a turn of a session is started. */
export type TurnOptions = Omit<StartOptions, 'session'>

/** From where a stream goes on, and what ends it. */
export interface StreamOptions<Place> {
  /** The place after which it begins. */
  after?: Place | null
  /** Ends the stream, and nothing else, when it aborts. */
  signal?: AbortSignal
}

/** Items as they come. Ending the loop, or `return()`, ends it at once. */
export interface Stream<T> extends AsyncIterableIterator<T> {
  return(value?: unknown): Promise<IteratorResult<T>>
  throw(error?: unknown): Promise<IteratorResult<T>>
  [Symbol.asyncDispose](): Promise<void>
}

/** The events of a run that starts when the first is asked for. */
export interface RunStream extends Stream<t.RunEvent> {
  /** The run; asking for it starts it, where nothing else has. */
  readonly run: Promise<Run>
}

export interface Runs {
  /** Starts a run of an agent's live version. Dropping the handle does not stop it. */
  start(ctx: Context, agent: Ref<t.AgentId>, input: t.RunInput, options?: StartOptions): Promise<Run>
  /** Starts a run and gives its events. Ending the loop does not stop the run, unless `onDisconnect` says so. */
  stream(ctx: Context, agent: Ref<t.AgentId>, input: t.RunInput, options?: StartOptions): RunStream
  get(ctx: Context, run: Ref<t.RunId>): Promise<Run>
  record(ctx: Context, run: Ref<t.RunId>): Promise<t.RunRecord>
  list(ctx: Context, query?: RunQuery): Promise<t.Page<t.RunRecord>>
  iterate(ctx: Context, query?: RunQuery): AsyncIterableIterator<t.RunRecord>
  events(ctx: Context, run: Ref<t.RunId>, options?: StreamOptions<t.EventCursor>): Stream<t.RunEvent>
  /** The execution chain so far; as text it is a table. */
  chain(ctx: Context, run: Ref<t.RunId>): Promise<t.Chain>
  /** The verified journal. */
  journal(ctx: Context, run: Ref<t.RunId>): Promise<t.Journal>
  /** Asks for a run to end; what is under way is stopped. */
  cancel(ctx: Context, run: Ref<t.RunId>): Promise<null>
  /** Answers an approval a run waits for, bound to the exact arguments. */
  approve(ctx: Context, run: Ref<t.RunId>, approval: Omit<t.RunApproveArguments, 'run'>): Promise<null>
}

/** Which runs to list. */
export interface RunQuery extends Omit<t.RunListArguments, 'agent' | 'session'> {
  agent?: Ref<t.AgentId> | null
  session?: Ref<t.SessionId> | null
}

/** A handle on a run. */
export class Run {
  private constructor()
  readonly id: t.RunId
  /** Its events from the beginning or after a place, up to its end. Each as text is what a terminal shows. */
  events(options?: StreamOptions<t.EventCursor>): Stream<t.RunEvent>
  [Symbol.asyncIterator](): Stream<t.RunEvent>
  /** Waits for its end. A signal ends the wait; neither does anything to the run, unless `onDisconnect` says so. */
  wait(options?: { signal?: AbortSignal }): Promise<Outcome>
  cancel(): Promise<null>
  record(): Promise<t.RunRecord>
  chain(): Promise<t.Chain>
  journal(): Promise<t.Journal>
  approve(approval: Omit<t.RunApproveArguments, 'run'>): Promise<null>
}

/** How a run ended. */
export class Outcome {
  private constructor()
  readonly record: t.RunRecord
  /** Every step: what, how long, tokens, cost; as text it is a table. */
  readonly chain: t.Chain
  readonly status: t.RunStatus
  /** The error the run ended with; null for one that is completed. */
  readonly error: AgentProvisionError | null
  /** The answer of a completed run; throws the error of any other. */
  readonly text: string
  /** The answer of a completed run as a value, for an agent with an output schema. */
  output<T = t.Json>(): T
}

/** Runs that remember each other. */
export class Session {
  private constructor()
  readonly id: t.SessionId
  readonly record: t.SessionRecord
  /** Starts the next turn; one at a time. */
  send(input: t.RunInput, options?: TurnOptions): Promise<Run>
}

export interface Sessions {
  open(ctx: Context, agent: Ref<t.AgentId>): Promise<Session>
  get(ctx: Context, session: Ref<t.SessionId>): Promise<Session>
  list(ctx: Context, query?: PageQuery): Promise<t.Page<t.SessionRecord>>
  iterate(ctx: Context, query?: PageQuery): AsyncIterableIterator<t.SessionRecord>
  send(ctx: Context, session: Ref<t.SessionId>, input: t.RunInput, options?: TurnOptions): Promise<Run>
}

/** The audit log of a tenant, and the platform's own. */
export interface Audit {
  entries(ctx: Context, query?: t.EntriesArguments): Promise<t.AuditEntry[]>
  checkpoint(ctx: Context): Promise<t.Checkpoint>
  prove(ctx: Context, place: t.ProveArguments): Promise<t.InclusionProof>
  consistency(ctx: Context, sizes: t.ConsistencyArguments): Promise<t.TreeHash[]>
  /** Computes the whole log again and compares. */
  verify(ctx: Context): Promise<t.Checkpoint>
  platformEntries(operator: OperatorContext, query?: t.EntriesArguments): Promise<t.AuditEntry[]>
  verifyPlatform(operator: OperatorContext): Promise<t.Checkpoint>
}

export interface Usage {
  /** What was used in a span of time; without one, this month. */
  summary(ctx: Context, span?: t.SpanArguments): Promise<t.UsageSummary>
  events(ctx: Context, query?: t.UsageEventsArguments): Promise<t.UsageEvent[]>
}

export interface Events {
  /** Events as they are committed, after a number. */
  subscribe(ctx: Context, options?: StreamOptions<number>): Stream<t.NumberedEvent>
  read(ctx: Context, query?: t.EventReadArguments): Promise<t.NumberedEvent[]>
}

/** What a model is asked, beside its name and the conversation. */
export interface AskOptions extends Omit<t.ModelAskArguments, 'model' | 'messages'> {
  /** Ends the request when it aborts; what was used until then counts. */
  signal?: AbortSignal
}

/** How models are compared, beside their names and the conversation. */
export interface CompareOptions extends Omit<t.ModelCompareArguments, 'models' | 'messages'> {
  /** Ends the comparison when it aborts; what was used until then counts. */
  signal?: AbortSignal
}

/** What an embedding model is asked, beside its name and the texts. */
export interface EmbedOptions extends Omit<t.ModelEmbedArguments, 'model' | 'inputs'> {
  /** Ends the request when it aborts. */
  signal?: AbortSignal
}

/** What a rerank model is asked, beside its name, the query and the documents. */
export interface RerankOptions extends Omit<t.ModelRerankArguments, 'model' | 'query' | 'documents'> {
  /** Ends the request when it aborts. */
  signal?: AbortSignal
}

/** Models and routes. What a request used counts as usage of the tenant, whatever became of the answer. */
export interface Models {
  /** The names agents may use: those of the host, and of each provider what the catalogue knows. */
  names(): string[]
  /** The routes and models the tenant may use, and how they are. */
  list(ctx: Context): Promise<t.ModelEntry[]>
  /** Who would be asked, in which order, and why not the others; asks nobody. */
  explain(ctx: Context, model: string, messages: t.Conversation, options?: AskOptions): Promise<t.RouteDecision>
  /** A whole answer, and what was spent on it. */
  complete(
    ctx: Context, model: string, messages: t.Conversation, options?: AskOptions,
  ): Promise<t.AnsweredChatResponse>
  /** The answer in pieces, and then what was spent. Ending the loop ends the request. */
  stream(ctx: Context, model: string, messages: t.Conversation, options?: AskOptions): Stream<t.ModelEvent>
  /** Asks several models the same, side by side, and says which to take, and why. */
  compare(
    ctx: Context, models: string[], messages: t.Conversation, options?: CompareOptions,
  ): Promise<t.Comparison>
  /** The vectors of texts, in their order. */
  embed(ctx: Context, model: string, inputs: string[], options?: EmbedOptions): Promise<t.AnsweredEmbedResponse>
  /** Documents in the order of how well they answer a query, the best first. */
  rerank(
    ctx: Context, model: string, query: string, documents: string[], options?: RerankOptions,
  ): Promise<t.AnsweredRerankResponse>
}

/** Which connectors there are, and what they can do. */
export interface Connectors {
  list(ctx: Context): Promise<t.ConnectorInfo[]>
  /** A connector and its operations, with their schemas. */
  get(ctx: Context, name: string): Promise<t.ConnectorDetails>
}

/** How an operation is called. */
export interface InvokeOptions {
  /** A call that was made with it before is answered as then, for a day. */
  idempotencyKey?: string
  /** Milliseconds it may take; the operation's own limit where absent or shorter. */
  timeoutMs?: number
  /** Ends the call, with the signal's reason. */
  signal?: AbortSignal | null
}

/** Integrations: a tenant's configured instances of connectors, and calls of their operations. */
export interface Integrations {
  /** Makes an integration. Its credentials are kept sealed and never shown. */
  create(ctx: Context, integration: t.NewIntegrationArguments): Promise<t.Integration>
  get(ctx: Context, integration: Ref<t.IntegrationId>): Promise<t.Integration>
  list(ctx: Context, query?: t.IntegrationsListedArguments): Promise<t.Page<t.Integration>>
  iterate(ctx: Context, query?: t.IntegrationsListedArguments): AsyncIterableIterator<t.Integration>
  /** Replaces what is given. One that is connected to an account stays with it. */
  update(
    ctx: Context, integration: Ref<t.IntegrationId>, changes: Omit<t.IntegrationChangeArguments, 'integration'>,
  ): Promise<t.Integration>
  /** Removes an integration and its credentials. */
  delete(ctx: Context, integration: Ref<t.IntegrationId>): Promise<null>
  /** Asks whose account it is. What keeps it from being used is no error but the result. */
  test(ctx: Context, integration: Ref<t.IntegrationId>): Promise<t.TestResult>
  /** Begins to connect an integration in a browser: where to send whoever grants access. */
  authorize(
    ctx: Context, integration: Ref<t.IntegrationId>, request: Omit<t.IntegrationAuthorizeArguments, 'integration'>,
  ): Promise<t.Authorization>
  /** Ends it, by what the vendor gave back; once, within ten minutes. */
  connect(
    ctx: Context, integration: Ref<t.IntegrationId>, granted: Omit<t.IntegrationConnectArguments, 'integration'>,
  ): Promise<t.Integration>
  /** Calls an operation, such as `issues.create`. Keys of its input and answer are the service's own. */
  invoke<T = any>(
    ctx: Context, integration: Ref<t.IntegrationId>, operation: string, input?: Record<string, unknown>,
    options?: InvokeOptions,
  ): Promise<T>
}

/** Webhooks in: endpoints that vendors send to, what came in, and what takes it. */
export interface Webhooks {
  /**
   * Takes a delivery, and says how to answer it: mount it on your HTTP server, as `POST /hooks/:address`. What it took is
   * kept, and worked on afterwards. The body is the bytes as they came: a signature is over them.
   */
  receive(
    address: string,
    headers: Iterable<readonly [string, string]> | Record<string, string | readonly string[] | undefined>,
    body: Uint8Array,
  ): Promise<t.ReceivedAnswer>
  /** Makes an endpoint, which acts on behalf of whoever makes it. Its secret is shown this once. */
  create(ctx: Context, endpoint: t.NewWebhookEndpointArguments): Promise<t.MadeWebhookEndpoint>
  get(ctx: Context, endpoint: Ref<t.EndpointId>): Promise<t.WebhookEndpoint>
  list(ctx: Context, query?: t.ListedArguments): Promise<t.Page<t.WebhookEndpoint>>
  iterate(ctx: Context, query?: t.ListedArguments): AsyncIterableIterator<t.WebhookEndpoint>
  /** Replaces what is given. */
  update(
    ctx: Context, endpoint: Ref<t.EndpointId>, changes: Omit<t.EndpointChangeArguments, 'endpoint'>,
  ): Promise<t.WebhookEndpoint>
  /** Another secret, shown this once. The one before counts for `overlapS` seconds, default a day. */
  rotate(
    ctx: Context, endpoint: Ref<t.EndpointId>, options?: Omit<t.EndpointRotationArguments, 'endpoint'>,
  ): Promise<t.MadeWebhookEndpoint>
  /** Removes an endpoint, its secret and its deliveries. */
  delete(ctx: Context, endpoint: Ref<t.EndpointId>): Promise<null>
  /** The deliveries of an endpoint, oldest first, without their bodies. */
  deliveries(
    ctx: Context, endpoint: Ref<t.EndpointId>, query?: Omit<t.DeliveriesListedArguments, 'endpoint'>,
  ): Promise<t.Page<t.WebhookDelivery>>
  /** A delivery as it came; its body is base64. */
  delivery(ctx: Context, delivery: Ref<t.DeliveryId>): Promise<t.WholeWebhookDelivery>
  /** Works on a delivery that is over once more. Runs that it has started are not started again. */
  replay(ctx: Context, delivery: Ref<t.DeliveryId>): Promise<null>
}

// ---- what the host writes

/** One call of a function of the host's. */
export interface Call {
  /** Who it is for. */
  readonly ctx: Context
  /** Aborts when nobody waits any more for the answer: the run was cancelled, or its time is over. */
  readonly signal: AbortSignal
}

/** A call of a tool. */
export interface ToolCall extends Call {
  readonly run: t.RunId
  /** The step of the run. */
  readonly step: number
  /** The same text for every attempt of this call: give it to whatever the tool calls. */
  readonly idempotencyKey: string
  /** When the call must be over. */
  readonly deadline: t.Timestamp
  /** The transaction of the step, of a transactional tool. */
  readonly tx: Transaction
}

/** A value bound to a statement, with bytes in a `Uint8Array`, such as a `Buffer`; they come back as a `Buffer`. */
export type SqlValue = null | boolean | number | string | Uint8Array

/** Statements that commit with the step of a transactional tool, or not at all. */
export interface Transaction {
  /** Runs a statement and gives the number of rows it changed. `$1` is the tenant's id; `params` are `$2`, `$3`, … */
  execute(sql: string, params?: readonly SqlValue[]): Promise<number>
  /** Runs a query and gives its rows, each as long as its columns. */
  query(sql: string, params?: readonly SqlValue[]): Promise<(null | number | string | Buffer)[][]>
}

/** A JSON Schema of an object. */
export type JsonSchema = { [keyword: string]: unknown }

/** Something that checks arguments: what the Standard Schema and zod have. */
export interface Checker<T> {
  readonly '~standard'?: {
    readonly validate: (value: unknown) => { value: T } | { issues: readonly unknown[] } | Promise<unknown>
    readonly types?: { readonly output: T } | undefined
  }
  safeParse?(value: unknown): { success: boolean; data?: T; error?: unknown }
  parse?(value: unknown): T
  toJSONSchema?(): JsonSchema
  readonly schema?: JsonSchema
}

/** What a tool is. */
export interface ToolDefinition extends Omit<t.ToolSpec, 'inputSchema' | 'description'> {
  /** What it does, for the model. */
  description?: string
}

/** A tool agents may use. */
export interface Tool {
  readonly name: string
}

/** A chat model of the host's own. */
export interface Model {
  readonly name: string
}

/**
 * Makes a tool from a function. Its effect is `unsafe` until said otherwise: then a call whose end is unknown after a
 * crash is not made again. What the function throws fails the call, and its message reaches the model.
 */
export function tool<T>(
  definition: ToolDefinition & { schema: (Checker<T> & { parse(value: unknown): T }) | StandardSchema<T> },
  run: (args: T, call: ToolCall) => unknown,
): Tool
export function tool<T = Record<string, any>>(
  definition: ToolDefinition & { schema?: JsonSchema; parameters?: JsonSchema },
  run: (args: T, call: ToolCall) => unknown,
): Tool

/** The Standard Schema, as far as a tool needs it. */
export interface StandardSchema<T> {
  readonly '~standard': {
    readonly validate: (value: unknown) => unknown
    readonly types?: { readonly output: T } | undefined
  }
}

/** Values for a path and a query; a list is repeated in a query, and null is left out. */
export type Params = Record<string, null | undefined | string | number | boolean | readonly (string | number | boolean)[]>

/** A call of an operation of a connector. */
export interface ConnectorCall extends Call {
  /** The operation, by its name. */
  readonly operation: string
  readonly integration: t.IntegrationId
  readonly settings: Readonly<Record<string, any>>
  /** The credentials, by their fields; `send` has them already. No printing of the call shows them. */
  readonly credentials: Readonly<Record<string, string>>
  /** The caller's key, where there is one: the same text for every attempt of this call. */
  readonly idempotencyKey: string | null
  readonly run: t.RunId | null
  readonly agent: t.AgentId | null
  /** When the call must be over. */
  readonly deadline: t.Timestamp
  /**
   * Sends a request as the integration: with its credentials, through the platform's guarded client. `{name}` in the path
   * takes a value of `params`, encoded, and the query the rest. A response that is a failure is thrown as what it stands
   * for, so that the platform tries again what can be; `check: false` gives every response.
   */
  send(method: string, path: string, options?: {
    params?: Params
    /** A body in JSON. */
    json?: unknown
    /** A body as it is; give its `content-type` in `headers`. */
    body?: string | Uint8Array
    headers?: Record<string, string>
    check?: boolean
  }): Promise<ConnectorResponse>
}

/** What a service answered. */
export interface ConnectorResponse {
  readonly status: number
  /** By names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  /** The body as text in UTF-8. */
  readonly text: string
  /** The body as JSON; `provider_error` for what is none. */
  json(): any
}

/** An operation of a connector. */
export interface OperationDefinition<T = any>
  extends Omit<t.OperationSpec, 'name' | 'summary' | 'inputSchema' | 'outputSchema' | 'scopes'> {
  /** What it does, for people and models. */
  summary?: string
  /** What the credential has to be granted, in the service's words. */
  scopes?: string[]
  /** Its input: a JSON Schema, or what checks values and has one, as of zod; none where absent. */
  schema?: JsonSchema | Checker<T> | StandardSchema<T>
  /** The JSON Schema of its answer; another answer fails with `provider_error`. */
  output?: JsonSchema | Checker<unknown> | StandardSchema<unknown>
  run(input: T, call: ConnectorCall): unknown
}

/** What a connector is. */
export interface ConnectorDefinition
  extends Omit<t.ConnectorSpec, 'summary' | 'baseUrl' | 'settings' | 'auth' | 'headers' | 'operations'> {
  /** What it is good for, in a sentence. */
  summary?: string
  /** The URL that `send` goes under, with settings in braces; the setting `base_url` of an integration replaces it. */
  baseUrl?: string
  /** How `send` proves who asks; of several ways the first is the usual one. */
  auth?: 'bearer' | 'basic' | t.ConnectorAuth | readonly ('bearer' | 'basic' | t.ConnectorAuth)[]
  /** Credentials that operations use in a way of their own, with what they are; `auth` needs none here. */
  credentials?: Record<string, string>
  /** Settings of an integration, each with what it is, or its JSON Schema. */
  settings?: Record<string, string | JsonSchema>
  /** Headers of every request of `send`. */
  headers?: Record<string, string>
  /** What it can do, by names such as `tickets.get`. */
  operations: Record<string, OperationDefinition>
}

/** A connector of your own. */
export interface Connector {
  readonly name: string
}

/**
 * Makes a connector from what it is, how it proves who asks, and what it can do. With it among the `connectors` of a
 * platform, tenants can make integrations of it, and its operations are tools of agents, as `desk_tickets_get`.
 */
export function connector(definition: ConnectorDefinition): Connector

/** What a model answers with: a text, a whole answer, or pieces. */
export type ModelReply = string | t.ModelAnswer | AsyncIterable<string | t.ChatEvent>

/**
 * Makes a chat model from a function. Without a price its cost is unknown, and unknown is never zero. What it throws
 * fails the run; of errors that are none of this package only the class is recorded.
 */
export function model(
  info: t.ModelInfoInput,
  run: (request: t.ChatRequest, call: Call) => ModelReply | Promise<string | t.ModelAnswer>,
): Model

/** What an authorizer is asked. */
export interface Question {
  permission: string
  resource: { kind: string; id: string | null }
  /** What the roles say. */
  default: { allow: boolean; reason: string | null }
}

/** What an authorizer says; nothing keeps the default. */
export type Decision = boolean | { allow: boolean; reason?: string | null } | null | undefined | void

export type Authorizer = (question: Question, call: Call) => Decision | Promise<Decision>

export type Subscriber = (events: t.NumberedEvent[]) => unknown
