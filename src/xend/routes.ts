/**
 * The API, one row a request: what it does, what it takes, what it answers. The server checks requests by `input`, the
 * client's types come from here, and so will the OpenAPI document. Fields of `input` named in the path travel there, the
 * others in the query of a GET or the JSON body of a POST.
 */
import { type Static, type TObject, type TProperties, Type } from '@sinclair/typebox';
import { DomainConfig } from '../config/domain-config.ts';
import type { NodeInfo } from './node-info.ts';
import type { DomainView, ExitView } from './view.ts';
import type { ShutdownReason, Xend } from './xend.ts';

export interface Route<P extends TProperties, R> {
  readonly summary: string;
  readonly input: TObject<P>;
  readonly run: (xend: Xend, input: Static<TObject<P>>) => Promise<R> | R;
}

const route = <P extends TProperties, R>(summary: string, input: P, run: Route<P, R>['run']): Route<P, R> => ({
  summary,
  input: Type.Object(input, { additionalProperties: false }),
  run,
});

const Name = Type.String({ minLength: 1 });
const Reason = Type.Union([Type.Literal('poweroff'), Type.Literal('reboot'), Type.Literal('halt')]);
/** Done; nothing to tell. */
export interface Done {
  readonly ok: true;
}
const OK: Done = { ok: true };
const done = (work: Promise<void>): Promise<Done> => work.then(() => OK);

// biome-ignore format: a table
export const ROUTES = {
  'GET /xend':                    route('This daemon: version and process',      {}, (): { version: string; pid: number } => ({ version: VERSION, pid: process.pid })),
  'GET /node':                    route('Facts about this machine',              {}, (xend): NodeInfo => xend.node()),
  'GET /node/dmesg':              route('The hypervisor\'s messages',            {}, (xend): { text: string } => ({ text: xend.ports.messages.text() })),
  'POST /node/dmesg/clear':       route('Forget the messages; answers them',     {}, (xend): { text: string } => { const text = xend.ports.messages.text(); xend.ports.messages.clear(); return { text }; }),
  'GET /node/log':                route('xend\'s log file',                      {}, (xend): { text: string } => ({ text: xend.ports.log.text() })),
  'GET /domains':                 route('All domains, by name',                  {}, (xend): Promise<DomainView[]> => xend.list()),
  'POST /domains':                route('Make a domain; it is left paused',      { config: DomainConfig }, (xend, { config }): Promise<DomainView> => xend.create(config as DomainConfig)),
  'GET /domains/:name':           route('One domain, by name, id or uuid',       { name: Name }, (xend, { name }): Promise<DomainView> => xend.view(name)),
  'POST /domains/:name/unpause':  route('Run it',                                { name: Name }, (xend, { name }) => done(xend.unpause(name))),
  'POST /domains/:name/pause':    route('Stop executing it',                     { name: Name }, (xend, { name }) => done(xend.pause(name))),
  'POST /domains/:name/shutdown': route('Ask the guest to end or restart',       { name: Name, reason: Reason }, (xend, { name, reason }): Promise<{ uuid: string; builds: number }> => xend.shutdown(name, reason as ShutdownReason)),
  'POST /domains/:name/destroy':  route('End it now',                            { name: Name }, (xend, { name }) => done(xend.destroy(name))),
  'GET /domains/:name/console':   route('Where its console is',                  { name: Name }, (xend, { name }): { socket: string; log: string; uuid: string } => xend.console(name)),
  'GET /exits/:uuid':             route('How a domain ended; waits for its end', { uuid: Name, waitS: Type.Optional(Type.Number({ minimum: 0, maximum: 60 })) }, async (xend, { uuid, waitS }): Promise<{ exit?: ExitView }> => ({ exit: await xend.exitOf(uuid, (waitS ?? 0) * 1000) })),
};

export const VERSION = '0.1.0';

export type Routes = typeof ROUTES;
export type RouteName = keyof Routes;
export type Input<K extends RouteName> = Static<Routes[K]['input']>;
export type Reply<K extends RouteName> = Awaited<ReturnType<Routes[K]['run']>>;
