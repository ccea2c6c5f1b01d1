import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TelnetFilter } from './telnet.ts';

const [IAC, DONT, DO, WILL, SB, SE] = [255, 254, 253, 251, 250, 240];
const text = (word: string): number[] => [...Buffer.from(word, 'latin1')];
const NEGOTIATION = [IAC, DO, 3, IAC, WILL, 24, IAC, WILL, 31];

// biome-ignore format: a table
const CASES: readonly [story: string, sent: number[], typed: number[]][] = [
  ['negotiation before anything is typed',   [...NEGOTIATION, ...text('root\r')],                text('root\r')],
  ['the size of a window',                   [IAC, SB, 31, 0, 80, 0, 25, IAC, SE, ...text('ls')], text('ls')],
  ['interrupt and other commands',           [IAC, 244, IAC, DONT, 1, ...text('x')],             text('x')],
  ['Enter of a client that negotiates',      [...NEGOTIATION, ...text('a\r\0b\r\nc')],           text('a\rb\rc')],
  ['Enter of a program that does not',       text('a\r\nb\r\0'),                                 text('a\r\nb\r\0')],
  ['255 of a client that negotiates',        [...NEGOTIATION, IAC, IAC],                         [255]],
  ['255 twice of a program that does not',   [IAC, IAC, 65],                                     [255, 255, 65]],
  ['255 before a byte that is no command',   [IAC, 65],                                          [255, 65]],
];
for (const [story, sent, typed] of CASES) {
  test(`${story}: ${JSON.stringify(Buffer.from(typed).toString('latin1'))} reaches the guest, however it is cut`, () => {
    assert.deepEqual([...new TelnetFilter().typed(Uint8Array.from(sent))], typed);
    const oneByOne = new TelnetFilter();
    assert.deepEqual(
      sent.flatMap((byte) => [...oneByOne.typed(Uint8Array.of(byte))]),
      typed,
    );
  });
}

test('a suboption that does not end is not waited for without end', () => {
  const filter = new TelnetFilter();
  const sent = [IAC, SB, ...new Array<number>(600).fill(65)];
  assert.ok(filter.typed(Uint8Array.from(sent)).length > 500);
  assert.deepEqual([...filter.typed(Uint8Array.of(66))], [66]);
});
