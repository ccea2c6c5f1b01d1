/**
 * xend beyond this machine: TLS with a certificate that is made here, clients that show the token. The listener is on every
 * interface, as a certificate is for; the clients of this test are on loopback.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { connect } from '../../src/sdk/index.ts';
import { makeHome, startXend } from '../../src/xend/testing.ts';
import { xendConfigFile } from '../../src/xend/xend-config.ts';

const home = makeHome();
after(() => home.remove());
const file = (name: string) => path.join(home.dir, name);
const openssl = (...args: string[]) => spawnSync('openssl', args, { encoding: 'utf8' });

/** A certificate for this machine's own address that signs itself, and its key. */
const made = openssl(
  ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=domus'.split(' '),
  ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', file('key.pem'), '-out', file('cert.pem')],
);
const skip = made.error ? 'there is no openssl here' : false;

function configure(more: Record<string, string>): void {
  const settings = { 'xend-http-server': 'yes', 'xend-address': "''", 'xend-port': '0', ...more };
  mkdirSync(home.paths.etc, { recursive: true });
  const text = Object.entries(settings).map(([key, value]) => `(${key} ${value})\n`);
  writeFileSync(xendConfigFile(home.paths), text.join(''));
}

describe('xend behind TLS', { skip }, async () => {
  if (skip) return;
  assert.equal(made.status, 0, made.stderr);

  test('every interface without a certificate, half a pair, and files that are none are refused in one line', async () => {
    const refused = async (more: Record<string, string>, why: RegExp) => {
      configure(more);
      await assert.rejects(startXend(home), (error: Error) => why.test(error.message) && !error.message.includes('\n'));
    };
    await refused({}, /xend-tls-cert and xend-tls-key are needed/);
    await refused({ 'xend-tls-cert': file('cert.pem') }, /go together/);
    await refused({ 'xend-tls-cert': file('nope.pem'), 'xend-tls-key': file('key.pem') }, /nope\.pem/);
    await refused({ 'xend-tls-cert': file('kernel'), 'xend-tls-key': file('key.pem') }, /xend-tls-cert.*kernel/);
    assert.ok(openssl('genpkey', '-algorithm', 'ed25519', '-out', file('other.pem')).status === 0);
    await refused({ 'xend-tls-cert': file('cert.pem'), 'xend-tls-key': file('other.pem') }, /xend-tls-key.*other\.pem/);
  });

  test('a client with the token and the certificate manages a domain, its console and events; others get nothing', async () => {
    configure({ 'xend-tls-cert': file('cert.pem'), 'xend-tls-key': file('key.pem') });
    const xend = await startXend(home);
    const url = `https://127.0.0.1:${xend.daemon.port}`;
    const token = readFileSync(path.join(home.paths.lib, 'api-token'), 'utf8').trim();
    const ca = readFileSync(file('cert.pem'), 'utf8');
    try {
      const host = await connect({ url, token, ca });
      const vm = await host.create({ ...home.config('far') });
      assert.deepEqual(
        [(await vm.view()).name, (await host.list()).map(({ name }) => name)],
        ['far', ['Domain-0', 'far']],
      );
      const console = await vm.console();
      await console.expect('login:');
      console.line('hello');
      await console.expect('[hello]');
      await vm.destroy();
      await host.close();

      await assert.rejects(connect({ url, ca }), /a token is needed/);
      await assert.rejects(connect({ url, ca, token: 'wrong-but-long-enough' }), /the token is wrong/);
      await assert.rejects(connect({ url, token }), /self.signed certificate/);
      await assert.rejects(connect({ url: url.replace('https', 'http'), token }), { code: 'no-xend' });
      assert.match(await plain(xend.daemon.port!), /^(HTTP\/1\.1 400|$)/, 'what is not TLS is told so, or nothing');
    } finally {
      await xend.end();
    }
  });
});

/** What a client gets that speaks HTTP without TLS. */
function plain(port: number): Promise<string> {
  return new Promise((resolve) => {
    let seen = '';
    const socket = net.connect(port, '127.0.0.1', () => socket.write('GET /domains HTTP/1.1\r\nHost: x\r\n\r\n'));
    socket.setEncoding('latin1').on('data', (text: string) => (seen += text));
    socket.on('error', () => {});
    socket.on('close', () => resolve(seen));
  });
}
