//! Which known word a person meant.
//!
//! In: a word and the known ones. Out: the nearest, if any is near.
//!
//! Source: none; the distance is the "optimal string alignment" of two texts.
//!
//! Not here: what is said about it.

/// The longest word that is compared; a longer one is no slip of the finger.
const LONGEST: usize = 64;

/// The known word nearest to `word`, within a third of its length, the first where several are.
/// Letter case, `-` and `_` count for nothing.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = plain(word)?;
    let limit = (word.len() / 3).max(1);
    known
        .into_iter()
        .filter_map(|name| Some((distance(&word, &plain(name)?), name)))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

fn plain(word: &str) -> Option<Vec<char>> {
    let all = word.chars().take(LONGEST + 1).map(|c| c.to_ascii_lowercase());
    let all: Vec<_> = all.map(|c| if c == '_' { '-' } else { c }).collect();
    (all.len() <= LONGEST).then_some(all)
}

/// How many characters must be put in, taken out, replaced or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut best = (above[j + 1] + 1).min(row[j] + 1).min(above[j] + usize::from(x != y));
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = above;
        above = row;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood() {
        let known = ["name", "role", "config", "profile", "kernel_args", "metal-iso"];
        for (word, want) in [
            ("profil", "profile"),
            ("confgi", "config"),
            ("kernel-args", "kernel_args"),
            ("kernelargs", "kernel_args"),
            ("NAME", "name"),
            ("metall-iso", "metal-iso"),
        ] {
            assert_eq!(nearest(word, known), Some(want), "{word}");
        }
    }

    #[test]
    fn other_words_stay_unknown() {
        for word in ["", "x", "gateway", "profiles-of-mine", &"name".repeat(50)] {
            assert_eq!(nearest(word, ["name", "role", "profile"]), None, "{word}");
        }
    }

    #[test]
    fn distances_are_counted_by_the_letter() {
        let of = |a: &str, b: &str| distance(&plain(a).unwrap(), &plain(b).unwrap());
        assert_eq!(of("", "abc"), 3);
        assert_eq!(of("kitten", "sitting"), 3);
        assert_eq!(of("ab", "ba"), 1);
        assert_eq!(of("same", "same"), 0);
    }
}
