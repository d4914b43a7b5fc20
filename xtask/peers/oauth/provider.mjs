// The npm package `oidc-provider` on a free port of the loopback, for `tests/oauth.rs`: refresh tokens are good for one use, codes
// need PKCE, and whoever comes to its page signs in and consents at once. It is told what to do by lines of standard input, answers
// each with a line of JSON, and ends with its input.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Provider } from "oidc-provider";

const [clientId, clientSecret, redirectUri] = process.argv.slice(2);

// Its clock, which the test puts forward.
let ahead = 0;
const now = Date.now;
Date.now = () => now() + ahead;

const server = createServer();
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: clientId,
      client_secret: clientSecret,
      redirect_uris: [redirectUri],
      grant_types: ["authorization_code", "refresh_token"],
      token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  cookies: { keys: ["of a test"] },
  features: { devInteractions: { enabled: false } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  jwks: { keys: [generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" })] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  ttl: { AccessToken: 300, Grant: 86_400, IdToken: 300, Interaction: 600, RefreshToken: 86_400, Session: 86_400 },
});

const seen = { redeemed: 0, refused: [], revoked: 0, access: null, refresh: null };
provider.on("grant.success", (ctx) => {
  const { access_token: access, refresh_token: refresh } = ctx.body;
  Object.assign(seen, { access, refresh });
  if (ctx.oidc.params.grant_type === "refresh_token") seen.redeemed += 1;
});
provider.on("grant.error", (_, error) => seen.refused.push(error.error_detail ?? error.message));
provider.on("grant.revoked", () => (seen.revoked += 1));
provider.on("server_error", (_, error) => console.error(error));

// Answers about refresh tokens wait while they are held back.
const gate = { open: Promise.resolve() };
provider.use(async (ctx, next) => {
  await next();
  if (ctx.oidc?.route === "token" && ctx.oidc.params?.grant_type === "refresh_token") {
    gate.arrive?.();
    await gate.open;
  }
});

async function consent(request, response) {
  const { prompt, params, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId: "ada" } });
  }
  const grant =
    (grantId && (await provider.Grant.find(grantId))) ?? new provider.Grant({ accountId: "ada", clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

const callback = provider.callback();
server.on("request", (request, response) => {
  if (!request.url.startsWith("/interaction/")) return callback(request, response);
  return consent(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500).end();
  });
});

const commands = {
  advance: (seconds) => (ahead += 1000 * seconds),
  hold: () => {
    gate.open = new Promise((done) => (gate.release = done));
    gate.arrived = new Promise((done) => (gate.arrive = done));
  },
  held: () => gate.arrived,
  release: () => gate.release(),
  seen: () => {},
};
console.log(JSON.stringify({ issuer }));
for await (const line of createInterface(process.stdin)) {
  const [name, argument] = line.split(" ");
  await commands[name](Number(argument));
  console.log(JSON.stringify(seen));
}
process.exit();
