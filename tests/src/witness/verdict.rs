//! Comparing what the witness was told with what the log says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::journal::{Answer, Intent, Record};
use super::wish::{Effect, Kind};

/// Findings of each sort that are told in words.
const TOLD_MAX: usize = 5;

/// What can be wrong. Of each, there must be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// Acknowledged, and not in the log.
    Lost,
    /// Refused, and in the log.
    Phantom,
    /// In the log, and never asked for, or not so.
    Ghost,
    /// One key, two effects.
    Doubled,
    /// Only a part of a command's events is in the log, or they do not stand together.
    Torn,
    /// A was answered before B was asked, and B is before A in the log.
    Disordered,
    /// The answer tells of something else than the log, or than the answer before it.
    Altered,
    /// Asked again and again, and never answered.
    Unanswered,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Lost,
        Self::Phantom,
        Self::Ghost,
        Self::Doubled,
        Self::Torn,
        Self::Disordered,
        Self::Altered,
        Self::Unanswered,
    ];
}

/// How many commands there were, what became of them, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Commands that were to be sent.
    pub commands: u64,
    /// Commands that were done, or true already, in the end.
    pub acknowledged: u64,
    /// Commands that were refused in the end.
    pub refused: u64,
    /// Commands of which nobody knew for a while.
    pub unknown: u64,
    /// Those of them that turned out to be done before they were asked again.
    pub unknown_and_done: u64,
    /// Events of commands.
    pub events: u64,
    /// What is wrong, in words.
    pub told: Vec<String>,
    losses: BTreeMap<Loss, u64>,
}

impl Verdict {
    /// How many there are of one sort.
    #[must_use]
    pub fn count(&self, loss: Loss) -> u64 {
        self.losses.get(&loss).copied().unwrap_or(0)
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.losses.is_empty()
    }

    /// Adds another one.
    pub fn absorb(&mut self, other: Self) {
        self.commands += other.commands;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.unknown_and_done += other.unknown_and_done;
        self.events += other.events;
        self.told.extend(other.told);
        for (loss, count) in other.losses {
            *self.losses.entry(loss).or_default() += count;
        }
    }

    fn find(&mut self, loss: Loss, what: impl FnOnce() -> String) {
        let count = self.losses.entry(loss).or_default();
        *count += 1;
        if *count <= TOLD_MAX as u64 {
            self.told.push(format!("{loss:?}: {}", what()));
        }
    }
}

/// One request of a command.
struct Attempt<'a> {
    sent_at: u64,
    ended_at: u64,
    answer: &'a Answer,
}

impl Attempt<'_> {
    fn is_replayed(&self) -> bool {
        matches!(self.answer, Answer::Acknowledged { replayed: true, .. })
    }

    /// Status, version and body of an acknowledgement.
    fn said(&self) -> Option<(u16, Option<u64>, &str)> {
        match self.answer {
            Answer::Acknowledged { status, version, hash, .. } => Some((*status, *version, hash)),
            Answer::Refused { .. } | Answer::Unknown { .. } => None,
        }
    }
}

/// All that is known of one command.
struct Story<'a> {
    intent: &'a Intent,
    attempts: Vec<Attempt<'a>>,
    effects: Vec<&'a Effect>,
}

/// What became of a command in the end.
#[derive(PartialEq, Eq)]
enum End {
    Acknowledged,
    Refused,
    Unanswered,
}

impl Story<'_> {
    fn end(&self, fences: &[u64]) -> End {
        if self.acknowledgements().next().is_some() {
            return End::Acknowledged;
        }
        let refused = self.attempts.iter().filter_map(|attempt| match attempt.answer {
            Answer::Refused { .. } => Some(attempt.sent_at),
            Answer::Acknowledged { .. } | Answer::Unknown { .. } => None,
        });
        let Some(refused_at) = refused.max() else { return End::Unanswered };
        // A request without an answer may still be on its way when another one is refused.
        let is_settled = |attempt: &Attempt<'_>| {
            let sent_at = attempt.sent_at;
            !matches!(attempt.answer, Answer::Unknown { .. })
                || fences.iter().any(|fence| (sent_at..refused_at).contains(fence))
        };
        if self.attempts.iter().all(is_settled) { End::Refused } else { End::Unanswered }
    }

    fn acknowledgements(&self) -> impl Iterator<Item = &Attempt<'_>> {
        let is_one = |attempt: &&Attempt<'_>| matches!(attempt.answer, Answer::Acknowledged { .. });
        self.attempts.iter().filter(is_one)
    }

    fn first_sent(&self) -> u64 {
        self.attempts.iter().map(|attempt| attempt.sent_at).min().unwrap_or(u64::MAX)
    }

    fn first_acknowledged(&self) -> Option<u64> {
        self.acknowledgements().map(|attempt| attempt.ended_at).min()
    }

    /// How many times it has an effect in the log.
    fn commands(&self) -> usize {
        self.effects.iter().map(|effect| &effect.command).collect::<BTreeSet<_>>().len()
    }

    fn was_unknown(&self) -> bool {
        self.attempts.iter().any(|attempt| matches!(attempt.answer, Answer::Unknown { .. }))
    }
}

/// Compares the journal with the log.
#[must_use]
pub fn judge(journal: &[Record], log: &[Effect]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut fences = Vec::new();
    let mut starts = 0;
    let mut stories: BTreeMap<&str, Story<'_>> = BTreeMap::new();
    for record in journal {
        match record {
            Record::Starting { .. } => starts += 1,
            Record::Fence { at } => fences.push(*at),
            Record::Intent(intent) => {
                let story = Story { intent, attempts: Vec::new(), effects: Vec::new() };
                stories.insert(&intent.key, story);
            }
            Record::Outcome { key, sent_at, ended_at, answer } => {
                if let Some(story) = stories.get_mut(key.as_str()) {
                    let (sent_at, ended_at) = (*sent_at, *ended_at);
                    story.attempts.push(Attempt { sent_at, ended_at, answer });
                }
            }
        }
    }
    give_out_effects(&mut verdict, &mut stories, log, starts);
    let streams = by_stream(log);
    for (key, story) in &stories {
        verdict.commands += 1;
        verdict.events += story.effects.len() as u64;
        verdict.unknown += u64::from(story.was_unknown());
        effects_are_whole(&mut verdict, key, story);
        match story.end(&fences) {
            End::Acknowledged => {
                verdict.acknowledged += 1;
                let was_done =
                    story.was_unknown() && story.acknowledgements().all(Attempt::is_replayed);
                verdict.unknown_and_done += u64::from(was_done);
                if story.commands() <= 1 {
                    answers_are_borne_out(&mut verdict, key, story, &stories, &streams);
                }
            }
            End::Refused => {
                verdict.refused += 1;
                if let Some(effect) = story.effects.first() {
                    verdict.find(Loss::Phantom, || format!("{key} at {}", effect.position));
                }
            }
            End::Unanswered => verdict.find(Loss::Unanswered, || (*key).to_owned()),
        }
    }
    order_is_kept(&mut verdict, &stories);
    verdict
}

/// The events of each stream, by version.
type Streams<'a> = HashMap<&'a str, BTreeMap<u64, &'a Effect>>;

fn by_stream(log: &[Effect]) -> Streams<'_> {
    let mut streams = Streams::new();
    for effect in log {
        streams.entry(&effect.stream).or_default().insert(effect.version, effect);
    }
    streams
}

/// Every event must have been asked for, as it is, but for the few that a start makes.
fn give_out_effects<'a>(
    verdict: &mut Verdict,
    stories: &mut BTreeMap<&str, Story<'a>>,
    log: &'a [Effect],
    starts: usize,
) {
    let first_asked = log.iter().find(|effect| effect.key.is_some());
    let first_asked = first_asked.map_or(u64::MAX, |effect| effect.position);
    let mut tokens = 0;
    let mut before: Option<&Effect> = None;
    for effect in log {
        // A publication that offers the service to everybody makes two events on two streams; the witness looks
        // for the first one.
        let is_roll_out = effect.kind == "organization.offered"
            && before
                .is_some_and(|it| it.kind == "service.published" && it.command == effect.command);
        before = Some(effect);
        if is_roll_out {
            continue;
        }
        let ghost = || format!("{effect:?}");
        let Some(key) = &effect.key else {
            let is_token = effect.kind.starts_with("user.token_");
            tokens += usize::from(effect.kind == "user.token_created");
            let lawful = effect.is_of_start
                && if is_token { tokens <= starts } else { effect.position < first_asked };
            if !lawful {
                verdict.find(Loss::Ghost, ghost);
            }
            continue;
        };
        let Some(story) = stories.get_mut(key.as_str()) else {
            verdict.find(Loss::Ghost, ghost);
            continue;
        };
        let intent = story.intent;
        let is_so = intent.stream.as_ref().is_none_or(|stream| *stream == effect.stream)
            && (effect.mark.is_none() || effect.mark == intent.mark)
            && intent.kind.effect().contains(&effect.kind.as_str());
        if !is_so {
            verdict.find(Loss::Ghost, ghost);
        }
        story.effects.push(effect);
    }
}

/// All events of a command or none, together, once.
fn effects_are_whole(verdict: &mut Verdict, key: &str, story: &Story<'_>) {
    let mut commands: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
    for effect in &story.effects {
        commands.entry(&effect.command).or_default().push(effect);
    }
    if commands.len() > 1 {
        verdict.find(Loss::Doubled, || format!("{key}: {} effects in the log", commands.len()));
    }
    for effects in commands.values() {
        let kinds: Vec<_> = effects.iter().map(|effect| effect.kind.as_str()).collect();
        let together = effects.windows(2).all(|pair| {
            pair[0].position + 1 == pair[1].position && pair[0].version + 1 == pair[1].version
        });
        if kinds != story.intent.kind.effect() || !together {
            verdict.find(Loss::Torn, || format!("{key}: {kinds:?}"));
        }
    }
}

/// What was acknowledged is in the log, where the first answer says; all later answers are that one,
/// given again.
fn answers_are_borne_out(
    verdict: &mut Verdict,
    key: &str,
    story: &Story<'_>,
    stories: &BTreeMap<&str, Story<'_>>,
    streams: &Streams<'_>,
) {
    let mut answers: Vec<_> = story.acknowledgements().collect();
    answers.sort_by_key(|attempt| attempt.ended_at);
    let borne_out = |attempt: &&Attempt<'_>| is_borne_out(story, attempt, stories, streams);
    let [first, later @ ..] = answers.as_slice() else { return };
    let anew = answers.iter().filter(|attempt| !attempt.is_replayed()).count();
    if !borne_out(first) {
        if story.effects.is_empty() || (anew > 1 && later.iter().any(borne_out)) {
            verdict.find(Loss::Lost, || format!("{key}, {:?}", story.intent.kind));
        } else {
            verdict.find(Loss::Altered, || {
                format!("{key} was answered {:?}, and is {:?}", first.answer, story.effects.last())
            });
        }
    } else if anew > 1 {
        verdict.find(Loss::Doubled, || format!("{key} was carried out {anew} times"));
    } else if later.iter().any(|attempt| attempt.said() != first.said()) {
        verdict.find(Loss::Altered, || format!("{key} was answered in two ways"));
    }
}

/// Whether the log says what an answer says.
fn is_borne_out(
    story: &Story<'_>,
    attempt: &Attempt<'_>,
    stories: &BTreeMap<&str, Story<'_>>,
    streams: &Streams<'_>,
) -> bool {
    let Answer::Acknowledged { version, id, request, .. } = attempt.answer else { return false };
    let Some(last) = story.effects.last() else {
        return was_true_already(story, *version, request.as_deref(), stories, streams);
    };
    *version == Some(last.version)
        && id.as_ref().is_none_or(|id| last.stream.ends_with(id.as_str()))
        && request.as_ref().is_none_or(|request| *request == last.command)
}

/// Whether the log bears out an answer that says that a wish was true already: the event that it
/// goes back to is there, and had been asked for before the answer was given.
fn was_true_already(
    story: &Story<'_>,
    version: Option<u64>,
    request: Option<&str>,
    stories: &BTreeMap<&str, Story<'_>>,
    streams: &Streams<'_>,
) -> bool {
    let kind = story.intent.kind;
    let stream = story.intent.stream.as_deref().and_then(|stream| streams.get(stream));
    let (Some(stream), Some(version), true) = (stream, version, kind.may_be_true_already()) else {
        return false;
    };
    let Some(shown) = stream.get(&version) else { return false };
    let by = shown.key.as_deref().and_then(|key| stories.get(key));
    let before = story.first_acknowledged().is_some_and(|answered| {
        by.is_some_and(|by| by.first_sent() < answered)
            && request.is_none_or(|it| it == shown.command)
    });
    let last_of = |kinds: &[&str]| {
        let mut until = stream.range(..=version).rev().map(|(_, effect)| effect.kind.as_str());
        until.find(|kind| kinds.contains(kind))
    };
    before
        && match kind {
            Kind::Disable => last_of(&["user.disabled", "user.enabled"]) == Some("user.disabled"),
            Kind::Enable => last_of(&["user.disabled", "user.enabled"]) != Some("user.disabled"),
            Kind::Deprovision => last_of(&["subscription.deprovisioned"]).is_some(),
            Kind::Publish => last_of(&["service.published"]).is_some(),
            _ => false,
        }
}

/// Where the answer to A came before B was sent, A is before B in the log.
fn order_is_kept(verdict: &mut Verdict, stories: &BTreeMap<&str, Story<'_>>) {
    let mut there: Vec<_> = stories
        .iter()
        .filter_map(|(key, story)| {
            let last = story.effects.last()?;
            // One that is doubled has no place; it is told of already.
            (story.commands() == 1).then_some((last.position, *key, story))
        })
        .collect();
    there.sort_by_key(|(position, ..)| *position);
    let mut earliest: Option<(u64, &str)> = None;
    for (_, key, story) in there.into_iter().rev() {
        if let Some((answered, later)) = earliest
            && answered < story.first_sent()
        {
            verdict.find(Loss::Disordered, || {
                format!("{later} was answered before {key} was sent, and stands behind it")
            });
        }
        if let Some(answered) = story.first_acknowledged()
            && earliest.is_none_or(|(earliest, _)| answered < earliest)
        {
            earliest = Some((answered, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of the one subscription, which is to have this many units.
    fn intent(key: &str, kind: Kind, mark: u64) -> Record {
        Record::Intent(Intent {
            key: key.to_owned(),
            kind,
            tenant: "customer".to_owned(),
            stream: Some("subscription-1".to_owned()),
            mark: Some(mark),
            hash: String::new(),
        })
    }

    fn outcome(key: &str, sent_at: u64, ended_at: u64, answer: Answer) -> Record {
        Record::Outcome { key: key.to_owned(), sent_at, ended_at, answer }
    }

    fn acknowledged(version: u64, command: &str) -> Answer {
        Answer::Acknowledged {
            status: 200,
            version: Some(version),
            id: Some("1".to_owned()),
            request: Some(command.to_owned()),
            hash: format!("{version}"),
            replayed: false,
        }
    }

    fn replayed(version: u64, command: &str) -> Answer {
        let Answer::Acknowledged { status, version, id, request, hash, .. } =
            acknowledged(version, command)
        else {
            unreachable!("it is acknowledged")
        };
        Answer::Acknowledged { status, version, id, request, hash, replayed: true }
    }

    fn refused() -> Answer {
        Answer::Refused { status: 409, code: "not_provisioned".to_owned() }
    }

    fn unknown() -> Answer {
        Answer::Unknown { what: "reset".to_owned() }
    }

    /// The three events of a change; the first stands at this position, and the versions are alike.
    fn changed(key: &str, command: &str, position: u64, mark: u64) -> Vec<Effect> {
        let kinds = Kind::Change.effect();
        let event = |(place, kind): (u64, &&str)| Effect {
            key: Some(key.to_owned()),
            kind: (*kind).to_owned(),
            stream: "subscription-1".to_owned(),
            version: position + place,
            position: position + place,
            command: command.to_owned(),
            mark: (place == 2).then_some(mark),
            is_of_start: false,
        };
        (0..).zip(kinds).map(event).collect()
    }

    fn found(journal: &[Record], log: &[Effect]) -> Vec<(Loss, u64)> {
        judge(journal, log).losses.into_iter().collect()
    }

    #[test]
    fn what_was_acknowledged_and_is_there_is_no_loss() {
        let journal = [intent("a", Kind::Change, 7), outcome("a", 1, 2, acknowledged(3, "c"))];
        assert_eq!(found(&journal, &changed("a", "c", 1, 7)), []);
    }

    #[test]
    fn what_was_acknowledged_and_is_not_there_is_lost() {
        let journal = [intent("a", Kind::Change, 7), outcome("a", 1, 2, acknowledged(3, "c"))];
        assert_eq!(found(&journal, &[]), [(Loss::Lost, 1)]);
        let other = intent("b", Kind::Change, 8);
        let journal = [&journal[..], &[other, outcome("b", 3, 4, acknowledged(3, "d"))]].concat();
        assert_eq!(found(&journal, &changed("b", "d", 1, 8)), [(Loss::Lost, 1)]);
    }

    #[test]
    fn a_deprovision_that_was_true_already_needs_the_one_before_it_in_the_log() {
        let journal = [
            intent("a", Kind::Deprovision, 0),
            outcome("a", 1, 2, acknowledged(3, "c")),
            intent("b", Kind::Deprovision, 0),
            outcome("b", 3, 4, acknowledged(3, "c")),
        ];
        let mut log = changed("a", "c", 1, 0);
        for (effect, kind) in log.iter_mut().zip(Kind::Deprovision.effect()) {
            effect.kind = (*kind).to_owned();
            effect.mark = None;
        }
        assert_eq!(found(&journal, &log), []);
        assert_eq!(found(&journal, &[]), [(Loss::Lost, 2)]);
        log.iter_mut().for_each(|effect| effect.command = "d".to_owned());
        assert_eq!(found(&journal, &log), [(Loss::Lost, 1), (Loss::Altered, 1)]);
    }

    #[test]
    fn what_was_refused_and_is_there_is_a_phantom() {
        let journal = [intent("a", Kind::Change, 7), outcome("a", 1, 2, refused())];
        assert_eq!(found(&journal, &[]), []);
        assert_eq!(found(&journal, &changed("a", "c", 1, 7)), [(Loss::Phantom, 1)]);
    }

    #[test]
    fn a_refusal_says_nothing_while_an_earlier_request_is_on_its_way() {
        let begun = [intent("a", Kind::Change, 7), outcome("a", 1, 2, unknown())];
        let refused = outcome("a", 5, 6, refused());
        let early = [&begun[..], &[refused.clone(), Record::Fence { at: 9 }]].concat();
        assert_eq!(found(&early, &[]), [(Loss::Unanswered, 1)]);
        let late = [&begun[..], &[Record::Fence { at: 4 }, refused]].concat();
        assert_eq!(found(&late, &[]), []);
        assert_eq!(found(&late, &changed("a", "c", 1, 7)), [(Loss::Phantom, 1)]);
    }

    #[test]
    fn what_nobody_asked_for_is_a_ghost() {
        assert_eq!(found(&[], &changed("a", "c", 1, 7)), [(Loss::Ghost, 3)]);
        let journal = [intent("a", Kind::Change, 8), outcome("a", 1, 2, acknowledged(3, "c"))];
        assert_eq!(found(&journal, &changed("a", "c", 1, 7)), [(Loss::Ghost, 1)]);
        let nobodys = Effect { key: None, ..changed("a", "c", 1, 7).remove(0) };
        assert_eq!(found(&[], &[nobodys]), [(Loss::Ghost, 1)]);
    }

    #[test]
    fn a_start_makes_one_token() {
        let token = Effect {
            key: None,
            kind: "user.token_created".to_owned(),
            is_of_start: true,
            ..changed("a", "c", 1, 7).remove(0)
        };
        let journal = [Record::Starting { at: 1 }];
        assert_eq!(found(&journal, std::slice::from_ref(&token)), []);
        assert_eq!(found(&journal, &[token.clone(), token]), [(Loss::Ghost, 1)]);
    }

    #[test]
    fn one_key_with_two_effects_is_doubled() {
        let journal = [
            intent("a", Kind::Change, 7),
            outcome("a", 1, 2, unknown()),
            Record::Fence { at: 3 },
            outcome("a", 4, 5, acknowledged(6, "d")),
        ];
        let log = [changed("a", "c", 1, 7), changed("a", "d", 4, 7)].concat();
        assert_eq!(found(&journal, &log), [(Loss::Doubled, 1)]);
    }

    #[test]
    fn an_answer_is_given_anew_once_and_stays_the_same() {
        let begun = [intent("a", Kind::Change, 7), outcome("a", 1, 2, acknowledged(3, "c"))];
        let log = changed("a", "c", 1, 7);
        let with = |answer| found(&[&begun[..], &[outcome("a", 3, 4, answer)]].concat(), &log);
        assert_eq!(with(replayed(3, "c")), []);
        assert_eq!(with(acknowledged(3, "c")), [(Loss::Doubled, 1)]);
        assert_eq!(with(replayed(4, "c")), [(Loss::Altered, 1)]);
    }

    #[test]
    fn what_has_to_be_carried_out_again_was_lost() {
        let journal = [
            intent("a", Kind::Change, 7),
            outcome("a", 1, 2, acknowledged(3, "c")),
            Record::Fence { at: 3 },
            outcome("a", 4, 5, acknowledged(6, "d")),
        ];
        assert_eq!(found(&journal, &changed("a", "d", 4, 7)), [(Loss::Lost, 1)]);
    }

    #[test]
    fn a_part_of_a_command_is_torn() {
        let journal = [intent("a", Kind::Change, 7), outcome("a", 1, 2, acknowledged(2, "c"))];
        assert_eq!(found(&journal, &changed("a", "c", 1, 7)[..2]), [(Loss::Torn, 1)]);
    }

    #[test]
    fn what_was_answered_before_another_was_sent_stands_before_it() {
        let both = |sent_at| {
            [
                intent("a", Kind::Change, 7),
                outcome("a", 1, 5, acknowledged(6, "c")),
                intent("b", Kind::Change, 8),
                outcome("b", sent_at, 9, acknowledged(3, "d")),
            ]
        };
        let log = [changed("b", "d", 1, 8), changed("a", "c", 4, 7)].concat();
        assert_eq!(found(&both(4), &log), []);
        assert_eq!(found(&both(6), &log), [(Loss::Disordered, 1)]);
    }
}
