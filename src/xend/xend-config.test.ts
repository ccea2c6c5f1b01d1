import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { findPaths } from '../host/paths.ts';
import { loadXendConfig, XEND_KEYS, xendConfigFile } from './xend-config.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const paths = findPaths({ DOMUS_HOME: dir });
const file = path.join(dir, 'xend-config.sxp');

function load(source: string) {
  writeFileSync(file, source);
  const warnings: string[] = [];
  return { config: loadXendConfig(file, paths, (text) => warnings.push(text)), warnings };
}

test('without a file every setting has its default', () => {
  const config = loadXendConfig(path.join(dir, 'none'), paths, () => {});
  assert.deepEqual(Object.keys(config).sort(), Object.keys(XEND_KEYS).sort());
  assert.deepEqual(
    [config['xend-http-server'], config['xend-port'], config['xend-address'], config['console-port-base']],
    [false, 8000, 'localhost', 9600],
  );
  assert.equal(config['xend-unix-path'], path.join(dir, 'lib', 'xend-socket'));
});

test("the original's file is understood, with its comments and its keys for networks", () => {
  const { config, warnings } = load(`# -*- sh -*-
(xend-http-server On)   # as in 4.0
(xend-port         8010)
(xend-address      '')
(console-port-base 19600)
(network-script    network)
(vif-antispoof     no)
(loglevel info)`);
  assert.deepEqual(
    [config['xend-http-server'], config['xend-port'], config['xend-address'], config['console-port-base']],
    [true, 8010, '', 19600],
  );
  assert.equal(config.loglevel, 'INFO');
  assert.deepEqual(warnings, [`${file}: without effect here: network-script, vif-antispoof`]);
});

test('a key that nobody knows is told of, and the others count', () => {
  const { config, warnings } = load('(xend-prot 1) (xend-port 2) (constructor 3)');
  assert.match(warnings[0]!, /xend-config\.sxp: unknown setting xend-prot$/);
  assert.match(warnings[1]!, /unknown setting constructor$/);
  assert.equal(config['xend-port'], 2);
});

for (const [source, problem] of [
  ['(xend-port many)', /xend-config\.sxp: xend-port is "many": it must be a port/],
  ['(xend-port 65536)', /must be a port/],
  ['(xend-http-server maybe)', /must be yes or no/],
  ['(loglevel loud)', /must be DEBUG or INFO or WARNING or ERROR/],
  ['(xend-port 1', /xend-config\.sxp:1:\d+: a list has no end/],
  ['xend-port 1', /a setting is written \(KEY VALUE\)/],
  ['(xend-port 1 2)', /a setting is written/],
  ['(logfile /nowhere/at/all)', /xend-config\.sxp: logfile is "\/nowhere\/at\/all": there is no folder \/nowhere\/at$/],
] as const) {
  test(`${source} is refused in one line`, () => {
    assert.throws(() => load(source), problem);
  });
}

test('the shipped file names every setting, each with its default', () => {
  const shipped = readFileSync(new URL('../../etc/xen/xend-config.sxp', import.meta.url), 'utf8');
  assert.deepEqual(load(shipped), { config: load('').config, warnings: [] });
  const all = load(shipped.replaceAll(/^#(?=\()/gm, ''));
  assert.deepEqual(all, { config: load('').config, warnings: [] });
  for (const key of Object.keys(XEND_KEYS)) assert.match(shipped, new RegExp(`^#\\(${key}\\s`, 'm'));
});

test('XEND_CONFIG names another file', () => {
  assert.equal(xendConfigFile(paths, {}), path.join(dir, 'etc', 'xend-config.sxp'));
  assert.equal(xendConfigFile(paths, { XEND_CONFIG: '/x/y' }), '/x/y');
  const warnings: string[] = [];
  loadXendConfig('/x/y', paths, (text) => warnings.push(text));
  loadXendConfig(xendConfigFile(paths, {}), paths, (text) => warnings.push(text));
  assert.deepEqual(warnings, ['/x/y: no such file: every setting has its default']);
});
