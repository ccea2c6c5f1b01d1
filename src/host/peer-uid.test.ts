import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { ownerInTable, peerUid, tableAddress } from './peer-uid.ts';

const little = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;
const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const row = (local: string, remote: string, uid: number, inode: number) =>
  `   7: ${local} ${remote} 01 00000000:00000000 00:00000000 00000000  ${uid}        0 ${inode} 1 0000000000000000 20 4 30 10 -1\n`;
const connection = { peerAddress: '127.0.0.1', peerPort: 40112, ownAddress: '127.0.0.1', ownPort: 9605 };

test('addresses are written as the kernel writes them', { skip: little ? false : 'a big-endian machine' }, () => {
  assert.equal(tableAddress('127.0.0.1', 9605, false), '0100007F:2585');
  assert.equal(tableAddress('127.0.0.1', 9605, true), '0000000000000000FFFF00000100007F:2585');
  assert.equal(tableAddress('::ffff:127.0.0.1', 9605, true), '0000000000000000FFFF00000100007F:2585');
  assert.equal(tableAddress('::1', 9605, true), '00000000000000000000000001000000:2585');
  assert.equal(tableAddress('2001:db8::a:b', 1, true), 'B80D012000000000000000000B000A00:0001');
});

test("the owner of the peer's end counts, not that of our own", () => {
  const [peer, own] = [tableAddress('127.0.0.1', 40112, false), tableAddress('127.0.0.1', 9605, false)];
  const table = HEAD + row(own, peer, 0, 11) + row(peer, own, 1000, 12);
  assert.equal(ownerInTable(table, peer, own), 1000);
  assert.equal(
    peerUid(connection, (file) => (file.endsWith('6') ? HEAD : table)),
    1000,
  );
});

test('an end that nobody holds any more has no owner, although the kernel shows uid 0 for it', () => {
  const [peer, own] = [tableAddress('127.0.0.1', 40112, false), tableAddress('127.0.0.1', 9605, false)];
  assert.equal(
    peerUid(connection, () => HEAD + row(peer, own, 0, 0)),
    undefined,
  );
});

test('a peer with an IPv6 socket is found in the other table', () => {
  const [peer, own] = [tableAddress('127.0.0.1', 40112, true), tableAddress('127.0.0.1', 9605, true)];
  const read = (file: string) => {
    if (!file.endsWith('6')) throw new Error('no such file');
    return HEAD + row(peer, own, 5, 99);
  };
  assert.equal(peerUid(connection, read), 5);
});

for (const address of ['127.0.0.1', '::1']) {
  test(`a real connection over ${address} is our own`, { skip: process.platform !== 'linux' }, async (t) => {
    const server = net.createServer().listen(0, address);
    try {
      await once(server, 'listening');
    } catch {
      return t.skip('this machine has no such address');
    }
    const { port } = server.address() as net.AddressInfo;
    const socket = net.connect(port, address);
    const [accepted] = (await once(server, 'connection')) as [net.Socket];
    const facts = { peerAddress: address, peerPort: accepted.remotePort!, ownAddress: address, ownPort: port };
    assert.equal(peerUid(facts), process.getuid!());
    socket.destroy();
    await once(accepted, 'close');
    assert.equal(peerUid(facts), undefined);
    server.close();
  });
}
