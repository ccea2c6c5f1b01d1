/** The translator (tier 1): hot code as WebAssembly functions of whole regions. */
export { type DiscoverPorts, discover, LIMITS } from './discover.ts';
export { generateRegions, joinRegions, REGION_PARAMETERS, type RegionImports } from './generate.ts';
export { orderOf, planOf, type RegionOrder } from './order.ts';
export {
  entryKey,
  isThere,
  originId,
  originOf,
  type PageCode,
  pageCodes,
  type RegionOrigin,
} from './origin.ts';
export { endsBlock, type RegionPlan } from './plan.ts';
