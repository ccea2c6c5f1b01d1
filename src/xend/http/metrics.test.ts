import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DomainView } from '../view.ts';
import { families, type Observed, render } from './metrics.ts';

const domain = (name: string, more: Partial<DomainView> = {}): DomainView => ({
  domid: 1,
  uuid: 'u',
  name,
  memoryMiB: 64,
  maxmemMiB: 128,
  vcpus: 1,
  state: 'running',
  letters: 'r----',
  cpu: 0,
  cpuTimeS: 1.5,
  upTimeS: 10,
  startTime: 1,
  builds: 2,
  ...more,
});
const node = {
  system: 'Linux',
  host: 'h',
  release: 'r',
  version: 'v',
  machine: 'x86_64',
  cores: 2,
  hyperthreadsPerCore: 1,
  cpuMhz: 1000,
  memoryMiB: 1024,
  freeMemoryMiB: 512,
};
const observed = (domains: DomainView[], requests = new Map<string, number>()): Observed => ({
  domains,
  node,
  events: 9,
  logLines: { DEBUG: 1, INFO: 2, WARNING: 3, ERROR: 4 },
  requests,
  streams: 0,
});

interface Sample {
  readonly name: string;
  readonly labels: Record<string, string>;
  readonly value: number;
}

/** A reader of the format as strict as its description: every line must be one of its three kinds. */
function parse(text: string): Sample[] {
  const samples: Sample[] = [];
  const typed = new Set<string>();
  assert.ok(text.endsWith('\n'));
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line);
    if (comment) {
      if (comment[1] === 'TYPE') {
        assert.ok(!typed.has(comment[2]!), `${comment[2]} twice`);
        typed.add(comment[2]!);
      }
      continue;
    }
    const sample = /^([a-z_]+)(?:\{(.*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/.exec(line);
    assert.ok(sample, line);
    const [, name = '', inside = '', value] = sample;
    assert.ok(typed.has(name), `${name} has no type`);
    const labels: Record<string, string> = {};
    let rest = inside;
    while (rest !== '') {
      const pair = /^([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/.exec(rest);
      assert.ok(pair, `${line}: ${rest}`);
      labels[pair[1]!] = pair[2]!.replace(/\\(.)/g, (_, char: string) => (char === 'n' ? '\n' : char));
      rest = rest.slice(pair[0].length);
    }
    samples.push({ name, labels, value: Number(value) });
  }
  return samples;
}

const metrics = (value: Observed) => parse(render(families(value)));
const find = (samples: Sample[], name: string) => samples.filter((sample) => sample.name === name);

test('a domain has its CPU seconds, memory, disks and console', () => {
  const samples = metrics(
    observed([
      domain('Domain-0', { domid: 0 }),
      domain('web', {
        diskIo: [{ dev: 'xvda1', reads: 3, writes: 4, readBytes: 512, writtenBytes: 1024 }],
        console: { id: 1, status: 'listening', attached: 0, bytesOut: 77, bytesIn: 5 },
      }),
    ]),
  );
  const of = (name: string) => find(samples, name).find(({ labels }) => labels.domain === 'web');
  assert.equal(of('domus_domain_cpu_seconds_total')?.value, 1.5);
  assert.equal(of('domus_domain_memory_bytes')?.value, 64 << 20);
  assert.deepEqual(of('domus_domain_block_written_bytes_total')?.labels, {
    domain: 'web',
    domid: '1',
    uuid: 'u',
    device: 'xvda1',
  });
  assert.equal(of('domus_domain_console_output_bytes_total')?.value, 77);
  assert.equal(
    find(samples, 'domus_domains').reduce((sum, { value }) => sum + value, 0),
    1,
    'Domain-0 is none of them',
  );
  assert.equal(find(samples, 'domus_xend_log_lines_total').find(({ labels }) => labels.level === 'ERROR')?.value, 4);
});

test('no name of a domain can make up a sample of its own', () => {
  const hostile = ['a"} 1\nfake_metric{x="', 'back\\slash', '\\"', 'tab\tand ü', '{}', 'ends with \\'];
  const samples = metrics(observed(hostile.map((name) => domain(name))));
  assert.deepEqual(
    find(samples, 'domus_domain_vcpus').map(({ labels }) => labels.domain),
    hostile,
  );
  assert.ok(samples.every(({ name }) => !name.startsWith('fake')));
});

test('requests are counted by route', () => {
  const [sample] = find(metrics(observed([], new Map([['GET /domains/:name 404', 3]]))), 'domus_xend_requests_total');
  assert.deepEqual(sample, {
    name: 'domus_xend_requests_total',
    labels: { method: 'GET', route: '/domains/:name', status: '404' },
    value: 3,
  });
});
