const LENGTH_MAX = 255;

/** What a domain may be called (xm-xend 2.7). Returns what is wrong, or undefined. */
export function nameProblem(name: string): string | undefined {
  if (name === '') return 'missing vm name';
  if (name.length > LENGTH_MAX)
    return `invalid vm name: it has ${name.length} characters, at most ${LENGTH_MAX} are allowed`;
  if (/^[0-9]/.test(name)) return `invalid vm name: "${name}" begins with a digit`;
  const bad = /[^A-Za-z0-9_\-.:/+]/u.exec(name);
  if (bad)
    return `invalid vm name: "${name}" has a ${bad[0] === ' ' ? 'blank' : `"${bad[0]}"`} in it; allowed are letters, digits and _ - . : / +`;
  return undefined;
}
