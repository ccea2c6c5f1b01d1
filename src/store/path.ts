/**
 * Paths of the store: which ones are valid, and what a relative one stands for. pv-abi 7.3.
 */
export const ABSOLUTE_MAX = 3072;
export const RELATIVE_MAX = 2048;

const VALID = /^\/$|^(\/[A-Za-z0-9\-_@]+)+$/;

export const homeOf = (domid: number): string => `/local/domain/${domid}`;

/** The absolute path that a client of domain `domid` means, or undefined when it is not a valid one. */
export function canonical(path: string, domid: number): string | undefined {
  if (path.length > (path.startsWith('/') ? ABSOLUTE_MAX : RELATIVE_MAX)) return undefined;
  const absolute = path.startsWith('/') ? path : `${homeOf(domid)}/${path}`;
  return VALID.test(absolute) ? absolute : undefined;
}

export const partsOf = (path: string): string[] => (path === '/' ? [] : path.slice(1).split('/'));

/** "/" is its own parent. */
export const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';

export const isBelow = (path: string, ancestor: string): boolean =>
  path.length > ancestor.length && path.startsWith(ancestor === '/' ? '/' : `${ancestor}/`);

/** The path itself, its parent, and so on up to "/". */
export function* withAncestors(path: string): Generator<string> {
  for (let at = path; ; at = parentOf(at)) {
    yield at;
    if (at === '/') return;
  }
}

/**
 * What a monitor's backends may name (their connection is domain 0's, but on behalf of one domain): that domain's home and
 * its part of each backend class.
 */
export function inScopeOf(path: string, domid: number): boolean {
  const home = homeOf(domid);
  if (path === home || isBelow(path, home)) return true;
  const [local, domain, zero, backend, , id] = partsOf(path);
  return local === 'local' && domain === 'domain' && zero === '0' && backend === 'backend' && id === `${domid}`;
}
