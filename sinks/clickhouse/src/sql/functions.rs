//! Functions that analysts may use. A function that is not here is refused: ClickHouse has about two thousand, with some that
//! read files, dictionaries, other tables, settings, or the server's own state, and new ones come with every version.
//!
//! Left out though harmless in themselves: functions that take another function's, type's or table's name as a text
//! (`arrayReduce`, `initializeAggregation`, `accurateCast`, `joinGet`, `dictGet`), and those that only make work (`sleep`,
//! `arrayWithConstant`, `repeat`).

/// What a function's arguments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A row's values.
    Plain,
    /// Many rows' values; it may have parameters, and combinators behind its name.
    Aggregate,
    /// Only with OVER.
    Window,
}

/// A function by its name, in any case; the name as it is written.
pub(super) fn find(name: &str) -> Option<(String, Kind)> {
    if let Some(known) = PLAIN.iter().find_map(|list| listed(list, name)) {
        return Some((known.to_owned(), Kind::Plain));
    }
    if let Some(known) = listed(WINDOW, name) {
        return Some((known.to_owned(), Kind::Window));
    }
    aggregate(name, COMBINATORS_MAX).map(|known| (known, Kind::Aggregate))
}

/// All names, to find one that is near.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PLAIN.iter().chain(&[AGGREGATES, WINDOW]).flat_map(|list| list.split_whitespace())
}

/// A name of a list: as it is written there, or else in any case.
fn listed(list: &'static str, name: &str) -> Option<&'static str> {
    let exact = list.split_whitespace().find(|known| *known == name);
    exact.or_else(|| list.split_whitespace().find(|known| known.eq_ignore_ascii_case(name)))
}

/// Combinators behind a name at most, as in `sumIfOrNull`.
const COMBINATORS_MAX: usize = 2;

fn aggregate(name: &str, combinators: usize) -> Option<String> {
    if let Some(known) = listed(AGGREGATES, name) {
        return Some(known.to_owned());
    }
    let left = combinators.checked_sub(1)?;
    let with = |combinator: &&str| Some(format!("{}{combinator}", aggregate(name.strip_suffix(*combinator)?, left)?));
    COMBINATORS.iter().find_map(with)
}

/// Behind an aggregate's name. Those that make or take states are not among them.
const COMBINATORS: &[&str] = &["If", "Array", "Distinct", "OrNull", "OrDefault"];

const AGGREGATES: &str = "
count sum avg min max any anyLast first_value last_value argMin argMax uniq uniqExact uniqCombined uniqHLL12 sumKahan
sumWithOverflow sumMap minMap maxMap avgWeighted median medianExact quantile quantiles quantileExact quantilesExact
quantileExactWeighted quantileTDigest quantileDeterministic quantileInterpolatedWeighted stddevPop stddevSamp varPop
varSamp covarPop covarSamp corr skewPop skewSamp kurtPop kurtSamp stddevPopStable stddevSampStable varPopStable
varSampStable corrStable groupArray groupUniqArray groupArraySorted groupConcat groupBitAnd groupBitOr groupBitXor
topK topKWeighted histogram entropy simpleLinearRegression studentTTest welchTTest mannWhitneyUTest
kolmogorovSmirnovTest meanZTest cramersV rankCorr deltaSum deltaSumTimestamp boundingRatio windowFunnel retention
sequenceMatch sequenceCount maxIntersections exponentialMovingAverage singleValueOrNull contingency theilsU
";

const WINDOW: &str = "
row_number rank dense_rank percent_rank cume_dist ntile lag lead lagInFrame leadInFrame nth_value
";

const PLAIN: &[&str] = &[CONDITIONS, NUMBERS, TEXTS, TIMES, CONVERSIONS, ARRAYS, MAPS_AND_TUPLES, JSON_AND_HASHES];

const CONDITIONS: &str = "
if multiIf coalesce ifNull nullIf isNull isNotNull assumeNotNull toNullable isZeroOrNull and or not xor equals
notEquals less greater lessOrEquals greaterOrEquals least greatest isFinite isInfinite isNaN ifNotFinite transform
caseWithExpression isDistinctFrom isNotDistinctFrom
";

const NUMBERS: &str = "
plus minus multiply divide intDiv intDivOrZero modulo moduloOrZero positiveModulo negate abs gcd lcm sign round
roundBankers floor ceil ceiling trunc truncate roundToExp2 roundDown roundAge roundDuration exp exp2 exp10 log ln log2
log10 log1p sqrt cbrt pow power sin cos tan asin acos atan atan2 sinh cosh tanh hypot degrees radians pi e erf erfc
lgamma tgamma factorial sigmoid bitAnd bitOr bitXor bitNot bitShiftLeft bitShiftRight bitTest bitCount widthBucket
width_bucket clamp divideDecimal multiplyDecimal max2 min2 avg2
";

const TEXTS: &str = "
length char_length character_length lengthUTF8 empty notEmpty lower upper lcase ucase lowerUTF8 upperUTF8 initcap
initcapUTF8 reverse reverseUTF8 concat concatWithSeparator concat_ws substring substr mid substringUTF8 substringIndex
left leftUTF8 right rightUTF8 leftPad lpad leftPadUTF8 rightPad rpad rightPadUTF8 trim trimLeft trimRight trimBoth
ltrim rtrim startsWith endsWith startsWithUTF8 endsWithUTF8 position positionUTF8 positionCaseInsensitive
positionCaseInsensitiveUTF8 locate countSubstrings countSubstringsCaseInsensitive like notLike ilike notILike match
multiMatchAny multiSearchAny multiSearchFirstIndex extract extractAll extractGroups regexpExtract replace replaceOne
replaceAll replaceRegexpOne replaceRegexpAll translate translateUTF8 splitByChar splitByString splitByRegexp
splitByWhitespace splitByNonAlpha arrayStringConcat alphaTokens tokens ngrams normalizeUTF8NFC normalizeUTF8NFD
levenshteinDistance editDistance damerauLevenshteinDistance jaroSimilarity jaroWinklerSimilarity ngramDistance
ngramSearch soundex ascii isValidUTF8 toValidUTF8 appendTrailingCharIfAbsent formatReadableQuantity
formatReadableTimeDelta formatReadableSize base64Encode base64Decode hex unhex printf
";

const TIMES: &str = "
now now64 today yesterday toYear toQuarter toMonth toDayOfYear toDayOfMonth toDayOfWeek toHour toMinute toSecond
toMillisecond toISOYear toISOWeek toWeek toYearWeek toYYYYMM toYYYYMMDD toYYYYMMDDhhmmss toStartOfYear
toStartOfISOYear toStartOfQuarter toStartOfMonth toStartOfWeek toMonday toLastDayOfMonth toLastDayOfWeek toStartOfDay
toStartOfHour toStartOfMinute toStartOfSecond toStartOfFiveMinutes toStartOfTenMinutes toStartOfFifteenMinutes
toStartOfInterval toTime toRelativeYearNum toRelativeMonthNum toRelativeWeekNum toRelativeDayNum toRelativeHourNum
date_trunc dateTrunc date_diff dateDiff timeDiff age addYears addQuarters addMonths addWeeks addDays addHours
addMinutes addSeconds subtractYears subtractQuarters subtractMonths subtractWeeks subtractDays subtractHours
subtractMinutes subtractSeconds formatDateTime dateName monthName makeDate makeDate32 makeDateTime makeDateTime64
toUnixTimestamp toUnixTimestamp64Milli toUnixTimestamp64Micro fromUnixTimestamp fromUnixTimestamp64Milli
fromUnixTimestamp64Micro toTimeZone timeZoneOf timeZoneOffset timeSlot toIntervalSecond toIntervalMinute
toIntervalHour toIntervalDay toIntervalWeek toIntervalMonth toIntervalQuarter toIntervalYear toModifiedJulianDay
parseDateTime parseDateTimeOrNull parseDateTimeBestEffort parseDateTimeBestEffortOrNull parseDateTime64BestEffort
parseDateTime64BestEffortOrNull
";

const CONVERSIONS: &str = "
toInt8 toInt16 toInt32 toInt64 toInt128 toUInt8 toUInt16 toUInt32 toUInt64 toFloat32 toFloat64 toDecimal32 toDecimal64
toDecimal128 toDate toDate32 toDateTime toDateTime64 toString toBool toUUID toInt8OrNull toInt16OrNull toInt32OrNull
toInt64OrNull toUInt8OrNull toUInt16OrNull toUInt32OrNull toUInt64OrNull toFloat32OrNull toFloat64OrNull
toDecimal32OrNull toDecimal64OrNull toDecimal128OrNull toDateOrNull toDateTimeOrNull toDateTime64OrNull toUUIDOrNull
toInt32OrZero toInt64OrZero toUInt32OrZero toUInt64OrZero toFloat64OrZero toTypeName toDecimalString toLowCardinality
";

const ARRAYS: &str = "
array range emptyArrayString emptyArrayInt64 arrayElement arrayElementOrNull has hasAll hasAny hasSubstr indexOf
countEqual arrayMap arrayFilter arrayFill arrayCount arrayExists arrayAll arrayFirst arrayFirstIndex arrayLast
arrayLastIndex arrayFold arraySum arrayAvg arrayMin arrayMax arrayProduct arrayCumSum arrayDifference arrayDistinct
arrayUniq arrayCompact arraySort arrayReverseSort arrayPartialSort arrayReverse arraySlice arrayConcat arrayFlatten
arrayZip arrayEnumerate arrayEnumerateUniq arrayIntersect arrayUnion arrayPushBack arrayPushFront arrayPopBack
arrayPopFront arrayResize arrayRotateLeft arrayRotateRight arrayShiftLeft arrayShiftRight arraySplit arrayJoin
arrayDotProduct arrayAUC arrayROCAUC L1Distance L2Distance L1Norm L2Norm cosineDistance
";

const MAPS_AND_TUPLES: &str = "
map mapFromArrays mapKeys mapValues mapContains mapContainsKey mapFilter mapApply mapExists mapAll mapAdd mapSubtract
mapUpdate mapSort mapReverseSort mapConcat tuple tupleElement tupleConcat tuplePlus tupleMinus tupleToNameValuePairs
";

const JSON_AND_HASHES: &str = "
JSONHas JSONLength JSONType JSONExtractString JSONExtractInt JSONExtractUInt JSONExtractFloat JSONExtractBool
JSONExtractRaw JSONExtractArrayRaw JSONExtractKeys simpleJSONExtractString simpleJSONExtractInt simpleJSONExtractFloat
simpleJSONExtractBool isValidJSON toJSONString JSON_VALUE JSON_QUERY JSON_EXISTS cityHash64 xxHash64 xxHash32
sipHash64 farmHash64 murmurHash3_64 intHash64 rand rand32 rand64 randUniform randNormal materialize identity grouping
UUIDNumToString
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_clickhouse_has_them() {
        let find = |name| find(name).map(|(name, kind)| format!("{name} {kind:?}")).unwrap_or_default();
        assert_eq!(find("COUNT"), "count Aggregate");
        assert_eq!(find("toYear"), "toYear Plain");
        assert_eq!(find("sumIf"), "sumIf Aggregate");
        assert_eq!(find("SUMIfOrNull"), "sumIfOrNull Aggregate");
        assert_eq!(find("row_NUMBER"), "row_number Window");
        for refused in
            ["sumState", "sumMerge", "sumIfIfIf", "OrNull", "toYearIf", "file", "dictGet", "dictGetString", "sleep", ""]
        {
            assert_eq!(find(refused), "", "{refused}");
        }
    }

    #[test]
    fn nothing_is_listed_twice() {
        let mut all: Vec<_> = names().collect();
        all.sort_unstable();
        let len = all.len();
        all.dedup();
        assert_eq!(all.len(), len);
    }

    /// What reads something that is not an argument, or takes a name as a text.
    #[test]
    fn nothing_dangerous_is_listed() {
        let words = [
            "dict",
            "joinGet",
            "file",
            "url(",
            "remote",
            "setting",
            "macro",
            "current",
            "server",
            "host",
            "user",
            "tcp",
            "version",
            "uptime",
            "catboost",
            "evalml",
            "sleep",
            "throw",
            "hascolumn",
            "introspect",
            "symbol",
            "address",
            "demangle",
            "trace",
            "cluster",
            "shard",
            "partition",
            "block",
            "state",
            "merge",
            "reinterpret",
            "executable",
            "querystring",
            "query_id",
            "queryid",
            "zookeeper",
            "transaction",
            "backup",
            "disk",
            "filesystem",
            "nothing",
        ];
        for name in names() {
            let lower = name.to_lowercase();
            assert!(!words.iter().any(|word| lower.contains(&word.to_lowercase())), "{name}");
        }
    }
}
