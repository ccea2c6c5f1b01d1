/** xend's old interface, spoken as xm of 2.0 and libvirt's driver spoke it: no User-Agent, no Accept, forms, SXP. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { parseSxp, type Sxp } from '../../config/sxp.ts';
import { openConsole } from '../../host/console-link.ts';
import { apiSocket } from '../../host/paths.ts';
import { makeHome, startXend } from '../testing.ts';
import { ask, fetchRaw, type RawAnswer } from './raw-http-for-tests.ts';

const home = makeHome();
const xend = await startXend(home);
after(async () => {
  await xend.end();
  home.remove();
});
const socket = path.join(home.paths.lib, 'xend-socket');

const get = (target: string) => fetchRaw(socket, { path: `/xend/${target}` });
const post = (target: string, form: string) =>
  fetchRaw(
    socket,
    {
      method: 'POST',
      path: `/xend/${target}`,
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'content-length': Buffer.byteLength(form) },
    },
    form,
  );
const sxpOf = ({ body }: RawAnswer): Sxp => {
  const [value, ...more] = parseSxp(body);
  assert.deepEqual(more, []);
  return value!;
};
/** The value of (key value) in an expression. */
const field = (sxp: Sxp, key: string): Sxp | undefined => {
  const row = (sxp as Sxp[]).find((item) => Array.isArray(item) && item[0] === key) as Sxp[] | undefined;
  return row?.[1];
};
const vm = (name: string) =>
  `(vm (name ${name}) (memory 32) (image (linux (kernel '${home.kernel}'))) (device (vbd (uname file:${home.disk}) (dev sda1) (mode w))))`;
/** As libvirt's driver sends it: only blanks and newlines escaped. */
const blanksOnly = (text: string) => text.replaceAll(' ', '%20').replaceAll('\n', '%0A');

test('the socket where old clients look is for its owner alone', () => {
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  assert.equal(statSync(apiSocket(home.paths)).mode & 0o777, 0o600);
});

test('what there is', async () => {
  const answer = await get('');
  assert.equal(answer.body, '(ls node domain console event device vnet)\n');
  assert.equal(answer.headers['content-type'], 'application/sxp');
  const raw = await ask(socket, 'GET /xend/domain HTTP/1.1\r\nHost: xend\r\nConnection: close\r\n\r\n');
  assert.deepEqual([raw.status, raw.reason, raw.body], [200, 'OK', '(Domain-0)\n']);
  assert.equal(raw.headers['content-length'], '11');
});

test('the machine, in words of 2.0 and of its successors', async () => {
  const node = sxpOf(await get('node/'));
  for (const key of ['system', 'cores', 'memory', 'free_memory', 'nr_cpus', 'cores_per_socket', 'total_memory'])
    assert.ok(field(node, key), key);
  assert.equal((await get('node/dmesg')).headers['content-type'], 'text/plain');
  assert.match((await get('node/log')).body, /xend \S+ starts/);
});

test('a life as an old client leads it: create, unpause, look, shut down, destroy', async () => {
  const created = await post('domain', `config=${encodeURIComponent(vm('old')).replaceAll('%20', '+')}&op=create`);
  assert.equal(created.status, 201);
  assert.equal(created.headers.location, '/xend/domain/old');
  assert.deepEqual([field(sxpOf(created), 'name'), field(sxpOf(created), 'state')], ['old', '--p--']);
  assert.equal((await post('domain/old', 'op=unpause')).body, '0\n');
  assert.deepEqual(sxpOf(await get('domain/')), ['Domain-0', 'old']);
  const id = field(sxpOf(await get('domain/old')), 'id');
  const flat = sxpOf(await get(`domain/${id}?detail=1`));
  assert.deepEqual([field(flat, 'domid'), field(flat, 'memory'), field(flat, 'vcpus')], [String(id), '32', '1']);
  assert.deepEqual(field(flat, 'image'), ['linux', ['kernel', home.kernel]]);
  const vbds = sxpOf(await get('domain/old?op=vbds')) as Sxp[];
  assert.deepEqual([vbds.length, field(vbds[0]!, 'uname')], [1, `file:${home.disk}`]);
  assert.deepEqual(
    ['vdev', 'dev', 'node'].map((key) => field(vbds[0]!, key)),
    ['2049', 'sda1', home.disk],
  );
  assert.deepEqual(sxpOf(await get('domain/old?op=vbd&vbd=0')), vbds[0]);
  const second = path.join(home.dir, 'second');
  writeFileSync(second, new Uint8Array(4096));
  const more = `(vbd (uname file:${second}) (dev sdb1) (mode r))`;
  assert.deepEqual(
    sxpOf(await post('domain/old', `op=device_create&config=${encodeURIComponent(more)}`)),
    parseSxp(more)[0],
  );
  assert.equal((await xend.client.call('GET /domains/:name/disks', { name: 'old' })).length, 2);
  assert.equal((await post('domain/old', 'op=rename&name=older')).status, 200);
  assert.equal((await post('domain/older', 'op=rename&name=old')).status, 200);
  const affinity = async () => (await xend.client.call('GET /domains/:name/vcpus', { name: 'old' }))[0]!.affinity;
  assert.equal((await post('domain/old', 'op=pincpu&cpu=0')).status, 200);
  assert.deepEqual(await affinity(), [0]);
  assert.equal((await post('domain/old', 'op=pincpu&cpu=-1')).status, 200);
  assert.deepEqual(await affinity(), []);
  // To have as much as it has is no change, and how far it may grow can be said.
  for (const form of ['op=mem_target_set&target=32', 'op=maxmem_set&memory=64', 'op=set_vcpus&vcpus=1'])
    assert.equal((await post('domain/old', form)).body, '0\n', form);
  assert.equal(field(sxpOf(await get('domain/old')), 'maxmem'), '64');
  const kept = await post('domain/old', 'op=mem_target_set&target=16');
  assert.deepEqual([kept.status, kept.reason.slice(0, 36)], [501, 'domain "old" keeps its 32 MiB of mem']);
  assert.equal((await post('domain/old', 'op=maxmem_set&memory=16')).reason, 'maxmem (16) is less than memory (32)');
  // As xm of 2.0 sends a SysRq key.
  assert.equal((await post('domain/old', 'reason=sysrq&key=115&op=shutdown')).status, 202);
  assert.equal((await post('domain/old', 'reason=sysrq&key=10&op=shutdown')).reason, 'Invalid parameter: key=10');
  const [console] = sxpOf(await get('console')) as string[];
  const about = sxpOf(await get(`console/${console}`));
  assert.deepEqual(
    ['status', 'id', 'domain', 'console_port'].map((key) => field(about, key)),
    ['listening', id, id, console],
  );
  const attached = await openConsole((await xend.client.call('GET /domains/:name/console', { name: 'old' })).socket, {
    mode: 'watch',
    who: 'a watcher',
  });
  const sentAway = once(attached.socket.resume(), 'end');
  assert.equal((await post(`console/${console}`, 'op=disconnect')).status, 200);
  await sentAway;
  attached.socket.destroy();
  assert.equal((await post('domain/old', 'reason=poweroff&key=0&op=shutdown')).status, 202);
  assert.equal((await post('domain/old', 'op=destroy')).status, 200, 'without a reason, as libvirt does it');
  assert.deepEqual(sxpOf(await get('domain')), ['Domain-0']);
});

test('a form with only its blanks escaped, and one in parts, are understood too', async () => {
  assert.equal((await post('domain', `op=create&config=${blanksOnly(vm('loose'))}`)).status, 201);
  const boundary = 'xyz';
  const part = (key: string, value: string) =>
    `--${boundary}\r\nContent-Disposition: form-data; name="${key}"\r\n\r\n${value}\r\n`;
  const form = `${part('op', 'destroy')}${part('reason', 'halt')}--${boundary}--\r\n`;
  const answer = await fetchRaw(
    socket,
    {
      method: 'POST',
      path: '/xend/domain/loose',
      headers: { 'content-type': `multipart/form-data; boundary=${boundary}`, 'content-length': form.length },
    },
    form,
  );
  assert.equal(answer.status, 200);
});

// biome-ignore format: a table
const REFUSALS: readonly [story: string, answer: () => Promise<RawAnswer>, status: number, reason: RegExp][] = [
  ['a domain that does not exist',  () => get('domain/nope'),                                   404, /^invalid domain:nope$/],
  ['a name with a newline in it',   () => get('domain/a%0d%0aX-Evil:%20yes'),                   404, /^invalid domain:a\?\?X-Evil: yes$/],
  ['no op',                         () => post('domain/x', 'reason=halt'),                      406, /^Missing parameter: op$/],
  ['op twice',                      () => post('domain/x', 'op=pause&op=unpause'),              406, /^Too many values for op$/],
  ['an op nobody knows',            () => post('domain/x', 'op=dance'),                         501, /^Operation not implemented: dance$/],
  ["an op that is a property of every object", () => post('domain/x', 'op=constructor'),        501, /^Operation not implemented: constructor$/],
  ['an op of a place without any',  () => post('vnet', 'op=create'),                            501, /not implemented: create/],
  ['a place that does not exist',   () => get('nowhere/at/all'),                                404, /^no such thing: /],
  ['create without config',         () => post('domain', 'op=create'),                          400, /^Missing parameter: config$/],
  ['a broken config',               () => post('domain', 'op=create&config=(vm (name'),         400, /a list has no end/],
  ['two configs in one',            () => post('domain', `op=create&config=${vm('a')}${vm('b')}`), 400, /one \(vm \.\.\.\) is wanted, not 2/],
  ['a config of something else',    () => post('domain', 'op=create&config=(tree)'),            400, /\(vm \.\.\.\) is wanted/],
  ['a config without a kernel',     () => post('domain', 'op=create&config=(vm (name a) (memory 32))'), 400, /missing image/],
  ['a kernel that is not there',    () => post('domain', "op=create&config=(vm (name a) (memory 32) (image (linux (kernel /nope))))"), 400, /^Kernel image does not exist: \/nope/],
  ['shutdown for no known reason',  () => post('domain/x', 'op=shutdown&reason=fun'),           400, /^Invalid parameter: reason=fun$/],
  ['a CPU that is no number',       () => post('domain/x', 'op=pincpu&cpu=many'),               400, /^Invalid parameter: cpu=many$/],
  ['a scheduler that is not here',  () => post('node', 'op=cpu_bvt_slice_set&ctx_allow=1'),     501, /^Operation not implemented: cpu_bvt_slice_set$/],
  ['a console that is not there',   () => post('console/9', 'op=disconnect'),                   404, /^invalid console:9$/],
  ['a device of another kind',      () => post('domain/x', 'op=device_create&config=(pci (slot 1))'), 501, /device_create of \(pci/],
  ['pausing this machine',          () => post('domain/Domain-0', 'op=pause'),                  409, /^Domain-0 is this machine itself/],
];
for (const [story, request, status, reason] of REFUSALS) {
  test(`${story}: ${status}, said in the reason phrase and as (xend.err ...)`, async () => {
    const answer = await request();
    assert.equal(answer.status, status);
    assert.match(answer.reason, reason);
    assert.equal((sxpOf(answer) as Sxp[])[0], 'xend.err');
    assert.equal(answer.headers['x-evil'], undefined);
  });
}
