import java.util.List;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;

/** Sends one query to a Spark Connect server and prints each row. Usage: ConnectClient sc://HOST:PORT QUERY */
public class ConnectClient {
    public static void main(String[] arguments) throws Exception {
        try (SparkSession session = 
                SparkSession.builder().config("spark.api.mode", "connect").remote(arguments[0]).getOrCreate()) {
            List<Row> rows = session.sql(arguments[1]).collectAsList();
            rows.forEach(row -> System.out.println("row " + row.mkString(" ")));
        }
    }
}
