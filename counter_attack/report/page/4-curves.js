// The numbers behind the charts.

/**
 * F1 = 2 TP / (2 TP + FP + FN) of the detector "found <= eps" against the truth "exact <= eps" at each eps; NaN where
 * nothing is near enough by either. A found distance of NaN (the attack failed) is never at most eps.
 */
function f1Curve(found, exact, radii) {
  const known = found.filter((value) => !Number.isNaN(value)).sort();
  const truth = exact.slice().sort();
  const both = found.map((value, i) => Math.max(value, exact[i])).filter((value) => !Number.isNaN(value)).sort();
  const told = counter(known), near = counter(truth), hits = counter(both);
  return radii.map((eps) => {
    const either = told(eps) + near(eps);
    return either > 0 ? (2 * hits(eps)) / either : NaN;
  });
}

/** For a sorted array, the function that counts the entries of at most a value. */
function counter(sorted) {
  return (value) => {
    let low = 0, high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] <= value) low = middle + 1; else high = middle;
    }
    return low;
  };
}

/** The figures of quality of attacks' distances a for exact ones t: relative difference of means, share, squared correlation. */
function quality(found, exact) {
  const both = found.map((value, i) => [value, exact[i]]).filter(([value]) => !Number.isNaN(value));
  const n = both.length;
  if (n === 0) return { count: 0, difference: NaN, below: NaN, r2: NaN };
  const mean = (k) => both.reduce((sum, pair) => sum + pair[k], 0) / n;
  const a = mean(0), t = mean(1);
  let aa = 0, tt = 0, at = 0, below = 0;
  for (const [x, y] of both) {
    aa += (x - a) ** 2; tt += (y - t) ** 2; at += (x - a) * (y - t);
    if (Math.abs(y - x) < 1 / 255) below += 1;
  }
  const r2 = aa > 0 && tt > 0 ? Math.min(1, at ** 2 / (aa * tt)) : NaN;
  return { count: n, difference: t > 0 ? (a - t) / t : NaN, below: below / n, r2 };
}

/** Counts in equal bins from 0 to the largest value. */
function histogram(values, top, bins) {
  const counts = new Array(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value / top) * bins))] += 1;
  return counts;
}

/** Numbers in equal steps of their logarithm, both ends included. */
function logarithmic(low, high, count) {
  const from = Math.log10(low), step = (Math.log10(high) - from) / (count - 1);
  return Array.from({ length: count }, (_, i) => 10 ** (from + i * step));
}

const largest = (values) => values.reduce((best, value) => (value > best ? value : best), -Infinity);
const least = (values) => values.reduce((best, value) => (value < best ? value : best), Infinity);
